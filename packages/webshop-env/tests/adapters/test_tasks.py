from __future__ import annotations

from dataclasses import replace

import pytest

from sightline.webshop_env import GoalError
from sightline.webshop_env.adapters.tasks import MAX_TASKS_LISTED, ShopTasks, TaskError
from sightline.webshop_env.goals import GoalSet, HeldGoals
from sightline.webshop_env.goals.goals import split_indices


@pytest.fixture(scope="module")
def many(goals: GoalSet) -> GoalSet:
    """4,000 goals, each with its number in its text."""
    return replace(
        goals, goals=HeldGoals(replace(goals.goals[0], instruction_text=f"wish {number}") for number in range(4000))
    )


@pytest.mark.parametrize(
    ("split", "numbers"),
    [
        ("test", range(500)),
        ("dev", range(500, 1500)),
        ("train", range(1500, 4000)),
        ("eval", range(500)),
        ("train_and_dev", range(500, 4000)),
    ],
)
def test_both_conventions_divide_the_goals_as_published(split: str, numbers: range) -> None:
    assert split_indices(split, 4000) == numbers


def test_each_convention_covers_every_goal_once() -> None:
    for splits in (("test", "dev", "train"), ("eval", "train_and_dev")):
        covered = [number for split in splits for number in split_indices(split, 2345)]
        assert covered == list(range(2345))


def test_only_splits_with_tasks_are_listed(goals: GoalSet, many: GoalSet) -> None:
    assert [split["name"] for split in ShopTasks(goals).list_splits()] == ["test", "eval"]
    assert {split["name"]: split["type"] for split in ShopTasks(many).list_splits()} == {
        "test": "test",
        "dev": "validation",
        "train": "train",
        "eval": "test",
        "train_and_dev": "train",
    }


def test_a_task_names_its_goal_and_instruction(many: GoalSet) -> None:
    task = ShopTasks(many).get_task("dev", 12)
    assert task == {"id": "dev-12", "split": "dev", "index": 12, "goal": 512, "instruction": "wish 512"}


@pytest.mark.parametrize(("start", "stop"), [(None, 3), (2, 5), (-2, None), (990, 5000), (5, 2), (None, None)])
def test_a_range_of_tasks_is_that_slice_of_the_split(many: GoalSet, start: int | None, stop: int | None) -> None:
    tasks = ShopTasks(many)
    goals = [task["goal"] for task in tasks.get_task_range("dev", start, stop)]
    assert goals == list(range(500, 1500))[start:stop]


def test_long_splits_are_listed_in_part_and_counted_in_full(many: GoalSet) -> None:
    tasks = ShopTasks(many)
    assert tasks.num_tasks("train") == 2500
    assert len(tasks.list_tasks("train")) == MAX_TASKS_LISTED
    with pytest.raises(TaskError, match="at most 1,000 at a time"):
        tasks.get_task_range("train")


@pytest.mark.parametrize(("split", "index"), [("test", 500), ("test", -1), ("validation", 0)])
def test_a_task_that_does_not_exist_is_an_index_error_that_says_what_does(
    many: GoalSet, split: str, index: int
) -> None:
    with pytest.raises(IndexError, match=r"numbered 0 to 499|splits are 'test'") as caught:
        ShopTasks(many).get_task(split, index)
    assert isinstance(caught.value, GoalError)


def test_an_empty_split_says_how_many_goals_there_are(goals: GoalSet) -> None:
    with pytest.raises(GoalError, match="there are only 3"):
        split_indices("train_and_dev", len(goals))
