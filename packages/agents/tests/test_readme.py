from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightline.agents import LexicalActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import random_gated
from sightline.retrieval import ChunkingConfig

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
FIRST, STUDENT, VERDICT, GAME, PLAN, MATCH, PUZZLES = BLOCKS


def run(example: str, **names: Any) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(example, str(README), "exec"), names)
    return output.getvalue()


def test_the_first_example_reads_the_lamp_and_takes_it() -> None:
    assert run(FIRST) == "click[blue] ['[button] blue [button_]\\na blue lamp']\n"


def test_the_packaged_student_gives_each_action_its_share() -> None:
    found = re.search(r"probabilities=\((0\.\d+), (0\.\d+)\), prompt_tokens=24, completion_tokens=5", run(STUDENT))
    assert found is not None
    assert float(found[1]) + float(found[2]) == pytest.approx(1)


def test_episodes_lead_to_a_table_and_a_verdict(toys: ModuleType) -> None:
    agents = [
        random_gated(LexicalActor(webshop_grammar), webshop_grammar, seed=seed, top_k=5, chunking=ChunkingConfig())
        for seed in range(2)
    ]
    names = ("recurrent_state_gated_trained", "baseline_rag")
    output = run(
        VERDICT,
        agents=[replace(agent, name=name) for agent, name in zip(agents, names, strict=True)],
        environments=toys.corridors(2),
        goals=range(6),
        expert=toys.walker,
        webshop_grammar=webshop_grammar,
    )
    assert "| recurrent_state_gated_trained |" in output
    assert output.endswith("undecided, 6 paired goals are too few (at least 50).\n")


@pytest.fixture
def lamps() -> ModuleType:
    """The module with a shop of three lamps and an agent that buys the last one."""
    path = Path(__file__).parent / "planning" / "environments" / "conftest.py"
    spec = importlib.util.spec_from_file_location("lamps", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_stranger_s_game_is_played_perfectly() -> None:
    """Ten matches are won by leaving eight, a multiple of four."""
    assert run(GAME) == "take 2, value +1, certain: True\n"


def test_a_plan_is_found_and_earns_what_it_says(lamps: ModuleType) -> None:
    output = run(PLAN, env=lamps.ToyShop(), agent=lamps.Hasty(), webshop_grammar=webshop_grammar)
    assert output == "planned 1.0, earned 1.0; the agent's own way earns 0.0\n"


def test_a_network_learns_from_its_own_games_and_plays_a_match() -> None:
    assert re.fullmatch(r"(accept|reject|undecided) after 16 games: [01]\.\d\d \[.*\]\n", run(MATCH))


def test_a_reasoner_is_trained_and_answers_puzzles() -> None:
    assert run(PUZZLES) == "20 (3, 16) (3,) True\n"


def test_the_page_on_reasoners_trains_one_and_lets_it_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = README.parent / "docs" / "reasoning.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    shorter = code.replace("minutes=5", "minutes=0.02, puzzles=64, held_out=8")
    assert shorter != code
    monkeypatch.chdir(tmp_path)
    run(shorter)
    assert (tmp_path / "runs" / "trm" / "model").is_dir()
