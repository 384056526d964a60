"""Choose goals: by instruction, by what they ask for, and by how hard they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.webshop_env.goals.goals import GoalSet
    from sightline.webshop_env.product import Goal


@dataclass(frozen=True, slots=True)
class GoalFilter:
    """What goals are wanted; None leaves a field open."""

    options: tuple[int, int] | None = None
    """Least and greatest number of options asked for."""
    attributes: tuple[int, int] | None = None
    """Least and greatest number of attributes asked for."""
    price: tuple[float, float] | None = None
    """Least and greatest price limit, in dollars."""
    categories: frozenset[str] | None = None
    """Categories of the product that the goal was made from."""
    words: frozenset[str] | None = None
    """Words that the instruction must hold, in any case."""

    def __post_init__(self) -> None:
        for name in ("options", "attributes", "price"):
            bounds = getattr(self, name)
            if bounds is not None and not bounds[0] <= bounds[1]:
                raise ValueError(f"{name} must be a least and a greatest value, not {bounds!r}")

    def __call__(self, goal: Goal) -> bool:
        """Return whether a goal is wanted."""
        text = goal.instruction_text.lower()
        return (
            _within(len(goal.goal_options), self.options)
            and _within(len(goal.attributes), self.attributes)
            and _within(goal.price_upper, self.price)
            and (self.categories is None or goal.category in self.categories)
            and (self.words is None or all(word.lower() in text for word in self.words))
        )


def select_goals(goals: GoalSet, wanted: GoalFilter, within: Iterable[int] | None = None) -> list[int]:
    """Return the indices of the goals that a filter wants.

    Args:
        goals: goals to choose from; their numbers stay as they are.
        wanted: filter to apply.
        within: indices to look at, for example those of a split; all when None.
    """
    return [index for index in (range(len(goals)) if within is None else within) if wanted(goals.goals[index])]


def find_goals(goals: GoalSet, instruction: str) -> list[int]:
    """Return the indices of the goals with an instruction; case, blanks and a leading `Instruction:` do not count."""
    wanted = _plain(instruction)
    return [index for index, goal in enumerate(goals.goals) if _plain(goal.instruction_text) == wanted]


def curriculum(difficulties: Mapping[int, float], stages: int) -> list[list[int]]:
    """Split goals into stages of about equal size, the easiest first; ties stay in the order of their indices.

    Args:
        difficulties: goal -> difficulty, for example that of `goal_difficulty`.
        stages: number of stages.

    Raises:
        ValueError: fewer goals than stages, or no stages.
    """
    if not 1 <= stages <= len(difficulties):
        raise ValueError(f"expected 1 to {len(difficulties)} stages for as many goals, not {stages!r}")
    ordered: Sequence[int] = sorted(difficulties, key=lambda goal: (difficulties[goal], goal))
    bounds = [len(ordered) * stage // stages for stage in range(stages + 1)]
    return [list(ordered[start:stop]) for start, stop in pairwise(bounds)]


def _within(value: float, bounds: tuple[float, float] | None) -> bool:
    return bounds is None or bounds[0] <= value <= bounds[1]


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).removeprefix("instruction:").strip()
