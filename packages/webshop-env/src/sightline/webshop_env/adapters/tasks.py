"""Goals as numbered tasks in named splits, by both conventions in use.

The methods are those of OpenEnv's structural `TaskProvider`. This module knows nothing of episodes.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from sightline.webshop_env.errors import GoalError
from sightline.webshop_env.goals.goals import split_indices

if TYPE_CHECKING:
    from sightline.webshop_env.goals.goals import GoalSet

MAX_TASKS_LISTED: Final = 1000
"""How many tasks one list holds at most; a synthetic goal set has hundreds of thousands."""

SplitType = Literal["train", "validation", "test"]

_TYPES: Final[dict[str, SplitType]] = {
    "test": "test",
    "dev": "validation",
    "train": "train",
    "eval": "test",
    "train_and_dev": "train",
}


class TaskError(GoalError, IndexError):
    """A split or a task that was asked for does not exist; an IndexError, as OpenEnv's protocol demands."""


class Split(TypedDict):
    """A split: its name, and what it is for."""

    name: str
    type: SplitType


class Task(TypedDict):
    """A task: its split and index there, the number of its goal in the shop, and what it asks for."""

    id: str
    split: str
    index: int
    goal: int
    instruction: str


class ShopTasks:
    """The goals of a shop as tasks.

    Args:
        goals: what the shop's episodes can ask for.
    """

    def __init__(self, goals: GoalSet) -> None:
        self._goals = goals

    def list_splits(self) -> list[Split]:
        """Every split that has a task; see `split_indices` for what they are."""
        splits: list[Split] = []
        for name, purpose in _TYPES.items():
            try:
                _indices(name, len(self._goals))
            except TaskError:
                continue
            splits.append({"name": name, "type": purpose})
        return splits

    def list_tasks(self, split: str) -> list[Task]:
        """Return the first `MAX_TASKS_LISTED` tasks of a split; `num_tasks` says how many there are.

        Raises:
            TaskError: there is no such split.
        """
        return self.get_task_range(split, 0, min(self.num_tasks(split), MAX_TASKS_LISTED))

    def num_tasks(self, split: str) -> int:
        """How many tasks a split has.

        Raises:
            TaskError: there is no such split.
        """
        return len(_indices(split, len(self._goals)))

    def get_task(self, split: str, index: int) -> Task:
        """One task.

        Raises:
            TaskError: there is no such split, or no task of this index (from 0) in it.
        """
        goal = self.goal_of(split, index)
        instruction = self._goals.goals[goal].instruction_text
        return {"id": f"{split}-{index}", "split": split, "index": index, "goal": goal, "instruction": instruction}

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[Task]:
        """Return the tasks that the slice `[start:stop]` of a split holds.

        Raises:
            TaskError: there is no such split, or the slice holds more than `MAX_TASKS_LISTED` tasks.
        """
        indices = range(self.num_tasks(split))[start:stop]
        if len(indices) > MAX_TASKS_LISTED:
            raise TaskError(
                f"tasks {indices.start} to {indices.stop} of split {split!r} are {len(indices):,}; "
                f"ask for at most {MAX_TASKS_LISTED:,} at a time"
            )
        return [self.get_task(split, index) for index in indices]

    def goals_of(self, split: str) -> range:
        """Return the numbers of a split's goals in the shop.

        Raises:
            TaskError: there is no such split.
        """
        return _indices(split, len(self._goals))

    def goal_of(self, split: str, index: int) -> int:
        """Return the number of a task's goal in the shop.

        Raises:
            TaskError: there is no such split, or no task of this index (from 0) in it.
        """
        goals = _indices(split, len(self._goals))
        if not 0 <= operator.index(index) < len(goals):
            raise TaskError(f"split {split!r} has no task {index!r}; its tasks are numbered 0 to {len(goals) - 1}")
        return goals[index]


def _indices(split: str, count: int) -> range:
    try:
        return split_indices(split, count)
    except GoalError as error:
        raise TaskError(str(error)) from None
