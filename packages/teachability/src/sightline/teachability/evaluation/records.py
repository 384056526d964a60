"""The rows of the evaluation's files. Names of columns are those that such files have had from the beginning."""

from __future__ import annotations

from typing import Literal

from sightline.teachability.records import Outcome, PatchFormat, Quadrant, Record

Dataset = Literal["overall", "panel", "retention"]


class EpisodeRow(Record):
    """One evaluated episode."""

    model: str
    """Who played."""
    dataset: Dataset
    """What from: first states, moments of the panel, tasks that the base could do."""
    task: int
    """The goal."""
    group: str
    """Its group; what is resampled."""
    seed: int
    """Number of the noise; -1 for the greedy policy."""
    quadrant: Quadrant | None = None
    """Of the moment, on the panel."""
    snapshot_id: str | None = None
    """The moment, on the panel."""
    outcome: Outcome
    """How it ended; `error` rows are in no rate."""
    success: bool
    """Whether it succeeded."""
    ended: bool
    """Whether it came to an ending."""
    reward: float
    """Of the ending."""
    steps: int
    """Actions."""
    repeat_rate: float
    """Share of actions that had been taken before in the episode."""
    loop: bool
    """Whether a pair of actions occurred three times."""
    state_loop: bool
    """Whether the same page was seen three times in a row."""


class OverallRow(Record):
    """Success of a model from first states, and against the base."""

    model: str
    """Who played."""
    policy: Literal["sampled", "greedy"]
    """Sampled, as labelled, or greedy."""
    n: int
    """Tasks; the success of one is its mean over seeds."""
    errors: int
    """Episodes whose environment raised."""
    success_rate: float
    """Mean over tasks."""
    success_low: float
    """Lower end of its interval (groups resampled)."""
    success_high: float
    """Upper end."""
    mean_reward: float
    """Mean over tasks."""
    mean_steps: float
    """Mean over tasks."""
    ended_share: float
    """Share of episodes that came to an ending."""
    delta: float | None = None
    """Success minus the base's, on the same tasks and noise."""
    delta_low: float | None = None
    """Lower end."""
    delta_high: float | None = None
    """Upper end."""
    p: float | None = None
    """Two-sided test of no difference, by group."""
    p_holm: float | None = None
    """Adjusted for the number of models."""
    positive_flips: int | None = None
    """Episodes that the base lost and this one won."""
    negative_flips: int | None = None
    """The reverse."""
    smallest_effect: float | None = None
    """Difference that this comparison would find 4 times out of 5, adjustment included."""
    collapsed: bool = False
    """Whether it ends less than half as many episodes as the base."""


class QuadrantRow(Record):
    """Success of a model from the panel's moments of one quadrant."""

    model: str
    quadrant: Quadrant
    n: int
    success_rate: float
    mean_reward: float
    mean_steps: float


class TransferRow(Record):
    """What training on one quadrant, in one format, does to another."""

    model: str
    """Run without its seed."""
    train_quadrant: Quadrant | None
    """What was trained on; None for the baselines."""
    supervision: PatchFormat
    """Format."""
    eval_quadrant: Quadrant
    """Where it is tried."""
    n: int
    """Moments."""
    success_rate: float
    """Mean over moments, seeds and training seeds."""
    base_success: float
    """The base's there."""
    delta_success: float
    """Difference, paired by moment."""
    delta_low: float
    """Lower end (groups resampled)."""
    delta_high: float
    """Upper end."""


class RetentionRow(Record):
    """What a model still can do of what the base could."""

    model: str
    """Who played."""
    n: int
    """Tasks that the base did with the choosing seeds."""
    retention_success_rate: float
    """The model's success there, with other seeds."""
    base_retention_success_rate: float
    """The base's, with those other seeds."""
    retention_drop: float
    """Base minus model."""
    drop_low: float
    """Lower end (groups resampled)."""
    drop_high: float
    """Upper end."""


class StucknessRow(Record):
    """How often a model goes in circles; rewards play no part."""

    model: str
    dataset: Dataset
    n: int
    mean_repeat_rate: float
    mean_loop_rate: float
    mean_state_loop_rate: float
    mean_steps: float
