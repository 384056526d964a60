"""The steered gate: kinds of chunks, one view of a page in training and in acting, and its comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.shopping.agents import needed_by
from experiments.shopping.gates.page_aware import Gates, RetrieverRecipe
from experiments.shopping.gates.steered import DESCRIPTIONS, ChunkKind, SteeredGate, chunk_kind, train_steered_stage
from experiments.shopping.learning import train_state_model_stage
from experiments.shopping.settings import Phase2Settings
from experiments.shopping.stages import Stage
from experiments.shopping.world import collect_demonstrations_stage, open_world
from lab.run import RunDirectory, read_metrics
from sightline.agents.reading import example_situation, score_pages
from sightline.agents.rollout import InProcessEngine
from sightline.retrieval import CachedEncoder, HashingEncoder, reciprocal_rank
from sightline.retrieval.conditioned import RetrievalExample


@pytest.mark.parametrize(
    ("chunk", "kind"),
    [
        ("[button] B0FMUZYKKJ [button_]\nYoga Pants\n$11.99", ChunkKind.PRODUCT),
        ("[clicked button] B0FMUZYKKJ [clicked button_]\nYoga Pants\n$11.99", ChunkKind.OPENED_PRODUCT),
        ("color\n  [button] brown [button_]\n  [button] dark grey [button_]", ChunkKind.OPTIONS),
        ("color\n  [clicked button] brown [clicked button_]\n  [button] grey [button_]", ChunkKind.CHOSEN_OPTIONS),
        ("[button] Back to Search [button_]\n[button] < Prev [button_]", ChunkKind.BUTTONS),
        ("[button] Description [button_]\n[button] Buy Now [button_]", ChunkKind.BUTTONS),
        ("[button] Back to Search [button_]\nPage 1 (Total results: 50)\n[button] Next > [button_]", ChunkKind.BUTTONS),
        ("Trail Mix, Pack of 1\nPrice: $10.0\nRating: N.A.", ChunkKind.FACTS),
        ("Machine wash. The price is low.", ChunkKind.TEXT),
        ("", ChunkKind.TEXT),
    ],
)
def test_the_kind_of_a_chunk_is_told_from_its_buttons(chunk: str, kind: ChunkKind) -> None:
    assert chunk_kind(chunk) is kind


def test_every_kind_has_a_description_of_its_own() -> None:
    assert set(DESCRIPTIONS) == set(ChunkKind)
    assert len(set(DESCRIPTIONS.values())) == len(ChunkKind)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gates, RetrieverRecipe, SteeredGate]:
    """A gate trained on a few demonstrations, with words hashed."""
    settings = Phase2Settings.model_validate(
        {
            "generated_products": 100,
            "training_goals": 24,
            "validation_goals": 12,
            "test_goals": 4,
            "next_action": {"epochs": 1},
            "state_model": {"text_dimension": 64, "event_dimension": 16, "state_dimension": 16},
            "phase2": {"epochs": 4, "batch_size": 8, "train_query_proj_only": False},
        }
    )
    run = RunDirectory(tmp_path_factory.mktemp("run"), settings.identity())
    encoder = CachedEncoder(HashingEncoder(64), run.path / "embeddings.sqlite")
    episodes = collect_demonstrations_stage(settings, run, open_world(settings), InProcessEngine())
    train_state_model_stage(settings, run, episodes["train"], encoder)
    gates = Gates(run, episodes, run.stage_folder(Stage.STATE_MODEL), encoder, needed=needed_by(settings))
    recipe = RetrieverRecipe.of(settings)
    return gates, recipe, train_steered_stage(gates, "steered-seed0", recipe, 0)


def dev_pages(gates: Gates, recipe: RetrieverRecipe) -> list[RetrievalExample]:
    return gates.label_examples_stage(recipe)["dev"]


def test_a_page_looks_in_acting_as_it_looked_in_training(trained: tuple[Gates, RetrieverRecipe, SteeredGate]) -> None:
    gates, recipe, gate = trained
    history = read_metrics(gates.run.stage_folder(Stage.RETRIEVER, "steered-seed0"))
    scores, positives = score_pages(gate.scorer(gates.encoder), dev_pages(gates, recipe))
    best = max(epoch["mean_reciprocal_rank"] for epoch in history)
    assert reciprocal_rank(scores, positives).mean() == pytest.approx(best, abs=1e-6)
    assert best > history[0]["mean_reciprocal_rank"]  # something was learnt


def test_pages_of_any_length_are_scored_together_as_they_are_alone(
    trained: tuple[Gates, RetrieverRecipe, SteeredGate],
) -> None:
    gates, recipe, gate = trained
    scorer = gate.scorer(gates.encoder)
    pages = dev_pages(gates, recipe)[:6]
    situations = [example_situation(page) for page in pages]
    chunks = [*[page.chunks for page in pages[1:]], ()]
    together = scorer(situations, chunks)
    assert [len(row) for row in together] == [len(page) for page in chunks]
    assert len({len(page) for page in chunks}) > 2
    for situation, page, row in zip(situations, chunks, together, strict=True):
        if page:
            np.testing.assert_allclose(scorer([situation], [page])[0], row, atol=1e-6)


def test_a_gate_is_not_used_with_another_encoder(
    trained: tuple[Gates, RetrieverRecipe, SteeredGate], tmp_path: Path
) -> None:
    other = CachedEncoder(HashingEncoder(32), tmp_path / "embeddings.sqlite")
    with pytest.raises(ValueError, match="the gate was trained with encoder"):
        trained[2].scorer(other)
