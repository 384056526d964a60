"""Features that cost nothing beyond the episode itself: where a moment stands, how it looks, how unsure the student is.

Knows nothing of what they predict.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.mining.records import Episode
from sightline.teachability.records import LabelledSnapshot

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CONSTRAINT = re.compile(
    r"\b(?:with|without|and|under|below|lower|less|more|over|at least|at most|in|size|colou?r)\b|,"
)

STRUCTURAL_FEATURES: Final = (
    "step_index",
    "trajectory_length",
    "relative_position",
    "n_available_actions",
    "action_space_entropy",
    "state_length",
    "n_numeric_tokens",
    "n_action_mentions",
    "task_complexity",
    "n_constraints",
    "n_prior_failures",
    "steps_since_progress",
)
"""Position in the episode (3), the choice (2), the page (3), the task (2), what went before (2)."""

UNCERTAINTY_FEATURES: Final = ("entropy_normalised", "margin", "top_probability", "effective_actions")


def structural_features(labelled: Sequence[LabelledSnapshot], episodes: Iterable[Episode] = ()) -> NDArray[np.float64]:
    """Return the structural and uncertainty features.

    Args:
        labelled: snapshots with uncertainties.
        episodes: those they come from; without one, what went before counts as 0.

    Returns:
        [N, 16] in the order of `STRUCTURAL_FEATURES` and `UNCERTAINTY_FEATURES`.

    Raises:
        ValueError: a snapshot has no uncertainty.
    """
    by_id = {episode.id: episode for episode in episodes}
    failures = Counter(episode.task for episode in by_id.values() if episode.outcome == "failure")
    return np.array([[*_structure(one, by_id, failures), *_doubt(one)] for one in labelled]).reshape(len(labelled), -1)


def _structure(one: LabelledSnapshot, episodes: dict[str, Episode], failures: Counter[int]) -> list[float]:
    snapshot = one.snapshot
    length = snapshot.step + snapshot.before_end
    words = _WORD.findall(snapshot.observation.lower())
    named = {word for action in snapshot.actions for word in _WORD.findall(action.lower())}
    episode = episodes.get(snapshot.trajectory_id)
    others = failures[snapshot.task] - (episode is not None and episode.outcome == "failure")
    return [
        snapshot.step,
        length,
        snapshot.step / length,
        len(snapshot.actions),
        _word_entropy(snapshot.actions),
        len(words),
        len(_NUMBER.findall(snapshot.observation)),
        sum(word in named for word in words),
        len(_WORD.findall(snapshot.instruction)),
        len(_CONSTRAINT.findall(snapshot.instruction.lower())),
        others,
        _since_progress(episode, snapshot.step),
    ]


def _doubt(one: LabelledSnapshot) -> list[float]:
    unsure = one.uncertainty
    if unsure is None:
        raise ValueError(f"snapshot {one.snapshot.id} has no uncertainty; label it first")
    return [unsure.entropy_normalised, unsure.margin, max(unsure.probabilities), unsure.effective_actions]


def _word_entropy(actions: Sequence[str]) -> float:
    """Entropy of the words of all actions, in nats: how varied the choice is."""
    counts = Counter(word for action in actions for word in _WORD.findall(action.lower()))
    total = sum(counts.values())
    return -sum(number / total * math.log(number / total) for number in counts.values())


def _since_progress(episode: Episode | None, step: int) -> int:
    """Return steps since the episode last showed something that it had not shown before."""
    if episode is None:
        return 0
    seen: set[str] = set()
    last = 0
    for position, one in enumerate(episode.steps[: step + 1]):
        if one.observation not in seen:
            last = position
            seen.add(one.observation)
    return step - last
