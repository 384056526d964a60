from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from scipy import stats

from sightline.teachability import Labeller, LabelSettings, Task, collect_episodes, mine_failures
from sightline.teachability.statistics import ClusterTest
from sightline.teachability.training.encoding import TextEncoder
from sightline.teachability.training.examples import ExampleBuilder
from sightline.teachability.training.loop import LoRALearner
from sightline.teachability.training_records import Example, LearnerConfig
from sightline.teachability.views import StateView


@pytest.fixture(scope="session")
def worlds() -> Iterator[ModuleType]:
    """The module `worlds`, where worker processes find it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("worlds")


@pytest.fixture(scope="session")
def models() -> Iterator[ModuleType]:
    """The module `models`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("models")


@pytest.fixture(scope="session")
def mean_test() -> ClusterTest:
    """A test of the sums of clusters: Student's, which says nothing where no cluster differs."""

    def test(sums: Sequence[Fraction]) -> float:
        values = [float(value) for value in sums]
        return float(stats.ttest_1samp(values, 0.0).pvalue) if len(set(values)) > 1 else 1.0

    return test


class Scene(NamedTuple):
    """A world, a tiny language model as its student, and what was labelled."""

    world: Any
    learner: LoRALearner
    teacher: Any
    episodes: list
    labelled: list
    builder: ExampleBuilder


@pytest.fixture(scope="session")
def make_scene(worlds, models):
    def make(config: LearnerConfig | None = None, learner_type: type[LoRALearner] = LoRALearner) -> Scene:
        world = worlds.MapWorld(
            {
                0: {"click[red]": 1, "click[blue]": 2, "click[stop]": worlds.LOSE},
                1: {"click[back]": 0, "click[buy]": worlds.WIN, "click[stop]": worlds.LOSE},
                2: {"click[back]": 0, "click[on]": 1, "click[stop]": worlds.LOSE},
            },
            horizon=5,
        )
        encode = TextEncoder(models.tiny_tokenizer(), context=512)
        learner = learner_type(models.tiny_model(), encode, config or LearnerConfig(temperature=2.0), name="tiny")
        best = {0: "click[red]", 1: "click[buy]", 2: "click[on]"}
        teacher = worlds.TableTeacher(lambda state: best[state.node])
        tasks = [Task(number, f"group {number}", worlds.Place(0)) for number in range(10)]
        episodes = collect_episodes(world, learner.base, tasks, seed=0, rollouts=range(3))
        snapshots = mine_failures(episodes, "uniform")
        labelled = Labeller(world, learner.base, teacher, settings=LabelSettings(max_prompts=40)).label(snapshots)
        return Scene(world, learner, teacher, episodes, labelled, ExampleBuilder(world, encode, learner.base))

    return make


@pytest.fixture(scope="session")
def scene(make_scene) -> Scene:
    return make_scene()


@pytest.fixture(scope="session")
def toy_examples(models) -> list[Example]:
    """Twelve decisions among three clicks."""
    encode = TextEncoder(models.tiny_tokenizer())
    examples = []
    for number in range(12):
        view = StateView("buy", f"page {number}", ("click[a]", "click[bb]", "click[ccc]"))
        encoded = encode(view)
        examples.append(
            Example(
                prompt_ids=tuple(encoded.prompt),
                candidates_ids=tuple(map(tuple, encoded.candidates)),
                chosen=number % 3,
                source="correction",
                snapshot_id=str(number),
                group=str(number),
                format="demo",
                action=view.actions[number % 3],
            )
        )
    return examples
