"""What the student is taught: what is best by values, and of equally good actions the one that the rule takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.shopping import learning
from experiments.shopping.settings import Phase2Settings
from experiments.shopping.world import collect_demonstrations_stage, open_world
from lab.run import RunDirectory
from sightline.agents.rollout import InProcessEngine
from sightline.agents.student import StudentExample
from sightline.retrieval import CachedEncoder, HashingEncoder


def test_a_student_is_taught_the_search_of_the_rule_and_only_best_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Phase2Settings.model_validate(
        {"generated_products": 100, "training_goals": 12, "validation_goals": 4, "test_goals": 4}
    )
    taught: list[StudentExample] = []

    def remember(examples: list[StudentExample], _grammar: Any, _config: Any, folder: Path, **_: Any) -> None:
        taught.extend(examples)
        folder.mkdir()

    monkeypatch.setattr(learning, "train_student", remember)
    run = RunDirectory(tmp_path / "run", settings.identity())
    encoder = CachedEncoder(HashingEncoder(64), run.path / "embeddings.sqlite")
    episodes = collect_demonstrations_stage(settings, run, open_world(settings), InProcessEngine())["train"]
    learning.train_student_stage(settings, run, episodes, encoder)

    situations = [each for episode in episodes for each, _ in episode.situations() for _ in range(2)]
    assert len(taught) == len(situations) > 0
    searches = 0
    for example, situation in zip(taught, situations, strict=True):
        assert example.target is not None
        mass = dict(zip(situation.actions, example.target, strict=True))
        assert sum(mass[action] for action in situation.best_actions) > 0.99
        if all(action.startswith("search[") for action in situation.actions):
            searches += len(situation.best_actions) > 1
            assert mass[situation.actions[0]] > 0.99  # all words of the task
    assert searches > 0
