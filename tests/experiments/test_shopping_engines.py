"""Demonstrations and attempts in the shop, here and in worker processes: the same files, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.shopping.agents import Workbench, needed_by, rules
from experiments.shopping.gates.page_aware import Gates, RetrieverRecipe
from experiments.shopping.settings import Phase2Settings
from experiments.shopping.stages import Stage
from experiments.shopping.world import collect_demonstrations_stage, open_world
from lab.engine import open_engine
from lab.run import RunDirectory
from sightline.agents.rollout import InProcessEngine, ProcessEngine
from sightline.retrieval import CachedEncoder, HashingEncoder


def files(folder: Path, settings: Phase2Settings) -> dict[str, bytes]:
    """What demonstrations, labels and query RAG's attempts leave in a run of these settings."""
    run = RunDirectory(folder / settings.engine, settings.identity())
    world = open_world(settings)
    encoder = CachedEncoder(HashingEncoder(64), run.path / "embeddings.sqlite")
    with open_engine(settings) as engine:
        episodes = collect_demonstrations_stage(settings, run, world, engine)
        model_folder = run.stage_folder(Stage.STATE_MODEL)
        gates = Gates(run, episodes, model_folder, encoder, engine, needed_by(settings))
        gates.label_examples_stage(RetrieverRecipe.of(settings))
        bench = Workbench(settings, run, world, encoder, rules(settings)["rule"], gates)
        bench.attempt_stage(bench.query_rag(), Stage.AGENT, "rag", world.splits["test"])
    return {
        file.relative_to(run.path).as_posix(): file.read_bytes() for file in sorted(run.path.glob("stages/*/*.jsonl"))
    }


def test_worker_processes_leave_the_files_of_this_process(tmp_path: Path) -> None:
    settings = Phase2Settings(generated_products=100, training_goals=8, validation_goals=4, test_goals=6)
    here = files(tmp_path, settings)
    assert len(here) == 7  # three splits of demonstrations, three of labels, and the attempts
    assert files(tmp_path, settings.model_copy(update={"engine": "processes", "workers": 2})) == here


def test_the_engine_is_no_part_of_what_a_run_is_known_by() -> None:
    settings = Phase2Settings(engine="processes", workers=7)
    assert settings.identity() == Phase2Settings().identity()
    with open_engine(settings) as engine:
        assert engine == ProcessEngine(7)
    with open_engine(Phase2Settings()) as engine:
        assert engine == InProcessEngine()
    with pytest.raises(ValueError, match="--address is that of a Ray cluster"):
        Phase2Settings(address="auto")
