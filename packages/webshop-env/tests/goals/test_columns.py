from __future__ import annotations

import pickle
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from sightline.webshop_env.catalogue.catalogue import Catalogue, write_catalogue
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.goals.columns import ColumnGoals, GoalColumns
from sightline.webshop_env.goals.goals import GoalKind, build_goals, draw_goal, filter_goals, limit_goals


@pytest.fixture(scope="module")
def memory() -> Catalogue:
    return Catalogue.generate(40, seed=2)


@pytest.fixture
def stored(memory: Catalogue, tmp_path: Path) -> Catalogue:
    return write_catalogue(memory, tmp_path / "shop")


@pytest.mark.parametrize("kind", get_args(GoalKind))
def test_goals_prices_and_draws_are_the_same(memory: Catalogue, stored: Catalogue, kind: GoalKind) -> None:
    built, expected = (build_goals(catalogue, kind, 5) for catalogue in (stored, memory))
    assert built == expected
    assert tuple(built.goals) == expected.goals
    assert dict(built.prices) == expected.prices
    assert list(built.cumulative_weights) == list(expected.cumulative_weights)
    for seed in range(50):
        within = range(3, 90)
        assert draw_goal(built, random.Random(seed)) == draw_goal(expected, random.Random(seed))
        assert draw_goal(built, random.Random(seed), within) == draw_goal(expected, random.Random(seed), within)


@pytest.mark.parametrize("kind", get_args(GoalKind))
def test_slices_filters_and_limits_are_views_with_the_same_goals(
    memory: Catalogue, stored: Catalogue, kind: GoalKind
) -> None:
    built, expected = (build_goals(catalogue, kind, 5) for catalogue in (stored, memory))
    assert built.goals[-1] == expected.goals[-1]
    for part in (slice(5, 20), slice(None, None, -1), slice(50, 3, -7), slice(9, 9)):
        assert type(built.goals[part]) is type(built.goals)
        assert tuple(built.goals[part]) == expected.goals[part]
    for change in (
        lambda goals: filter_goals(goals, lambda index, goal: index % 3 == 0 and goal.price_upper < 300),
        lambda goals: limit_goals(goals, 17, random.Random(3)),
        lambda goals: limit_goals(filter_goals(goals, lambda index, _: index > 4), 9, random.Random(3)),
    ):
        ours, theirs = change(built), change(expected)
        assert type(ours.goals) is type(built.goals)
        assert ours == theirs
        assert list(ours.cumulative_weights) == list(theirs.cumulative_weights)
        assert pickle.loads(pickle.dumps(ours)) == theirs  # noqa: S301


def test_goals_are_made_once_and_then_opened(stored: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build_goals(stored, "human", 5)
    monkeypatch.delattr(GoalColumns, "build")
    assert build_goals(stored, "human", 5) == built
    assert build_goals(Catalogue.open(stored.folder or ""), "human", 5) == built


def test_goals_are_made_in_memory_where_nothing_can_be_written(
    memory: Catalogue, stored: Catalogue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(Path, "mkdir", refuse)
    built = build_goals(stored, "synthetic", 5)
    assert built == build_goals(memory, "synthetic", 5)
    assert "made in memory" in caplog.text
    assert not ((stored.folder or Path()) / "goals").exists()
    assert pickle.loads(pickle.dumps(built)) == built  # noqa: S301


def test_a_seed_too_long_for_a_name_makes_goals_in_memory(memory: Catalogue, stored: Catalogue) -> None:
    assert build_goals(stored, "human", 10**60) == build_goals(memory, "human", 10**60)
    assert not ((stored.folder or Path()) / "goals").exists()


def test_goals_of_another_catalogue_are_refused_with_what_to_do(stored: Catalogue, tmp_path: Path) -> None:
    other = write_catalogue(Catalogue.generate(5, seed=9), tmp_path / "other")
    build_goals(other, "human", 5)
    shutil.copytree((other.folder or Path()) / "goals", (stored.folder or Path()) / "goals")
    with pytest.raises(CatalogueError, match="holds goals of another catalogue; delete it"):
        build_goals(stored, "human", 5)


def test_a_goal_that_names_no_instruction_is_reported(stored: Catalogue) -> None:
    columns = GoalColumns.build(stored, "human", 5)
    wrong = replace(columns, numbers=columns.numbers + 100)
    with pytest.raises(CatalogueError, match="goal 3 of the goals in memory is damaged: it names product"):
        ColumnGoals(stored, "human", wrong)[3]


@pytest.mark.parametrize("kind", get_args(GoalKind))
def test_twice_the_products_take_twice_the_work(kind: GoalKind) -> None:
    def calls(products: int) -> int:
        catalogue, count = Catalogue.generate(products, seed=3), 0

        def profile(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(profile)
        try:
            build_goals(catalogue, kind, 42)
        finally:
            sys.setprofile(None)
        return count

    assert 1.8 < calls(800) / calls(400) < 2.2
