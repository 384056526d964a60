"""The rows of the evaluation's files. Names of columns are those that such files have had from the beginning."""

from __future__ import annotations

from typing import Literal

from sightline.teachability.records import Outcome, PatchFormat, Quadrant, Record

Dataset = Literal["overall", "panel", "retention"]


class EpisodeRow(Record):
    """One evaluated episode.

    Attributes:
        model: who played.
        dataset: what from: first states, moments of the panel, tasks that the base could do.
        task: the goal.
        group: its group; what is resampled.
        seed: number of the noise; -1 for the greedy policy.
        quadrant: of the moment, on the panel.
        snapshot_id: the moment, on the panel.
        outcome: how it ended; `error` rows are in no rate.
        success: whether it succeeded.
        ended: whether it came to an ending.
        reward: of the ending.
        steps: actions.
        repeat_rate: share of actions that had been taken before in the episode.
        loop: whether a pair of actions occurred three times.
        state_loop: whether the same page was seen three times in a row.
    """

    model: str
    dataset: Dataset
    task: int
    group: str
    seed: int
    quadrant: Quadrant | None = None
    snapshot_id: str | None = None
    outcome: Outcome
    success: bool
    ended: bool
    reward: float
    steps: int
    repeat_rate: float
    loop: bool
    state_loop: bool


class OverallRow(Record):
    """Success of a model from first states, and against the base.

    Attributes:
        model: who played.
        policy: sampled, as labelled, or greedy.
        n: tasks; the success of one is its mean over seeds.
        errors: episodes whose environment raised.
        success_rate: mean over tasks.
        success_low: lower end of its interval (groups resampled).
        success_high: upper end.
        mean_reward: mean over tasks.
        mean_steps: mean over tasks.
        ended_share: share of episodes that came to an ending.
        delta: success minus the base's, on the same tasks and noise.
        delta_low: lower end.
        delta_high: upper end.
        p: two-sided test of no difference, by group.
        p_holm: adjusted for the number of models.
        positive_flips: episodes that the base lost and this one won.
        negative_flips: the reverse.
        smallest_effect: difference that this comparison would find 4 times out of 5, adjustment included.
        collapsed: whether it ends less than half as many episodes as the base.
    """

    model: str
    policy: Literal["sampled", "greedy"]
    n: int
    errors: int
    success_rate: float
    success_low: float
    success_high: float
    mean_reward: float
    mean_steps: float
    ended_share: float
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    positive_flips: int | None = None
    negative_flips: int | None = None
    smallest_effect: float | None = None
    collapsed: bool = False


class QuadrantRow(Record):
    """Success of a model from the panel's moments of one quadrant."""

    model: str
    quadrant: Quadrant
    n: int
    success_rate: float
    mean_reward: float
    mean_steps: float


class TransferRow(Record):
    """What training on one quadrant, in one format, does to another.

    Attributes:
        model: run without its seed.
        train_quadrant: what was trained on; None for the baselines.
        supervision: format.
        eval_quadrant: where it is tried.
        n: moments.
        success_rate: mean over moments, seeds and training seeds.
        base_success: the base's there.
        delta_success: difference, paired by moment.
        delta_low: lower end (groups resampled).
        delta_high: upper end.
    """

    model: str
    train_quadrant: Quadrant | None
    supervision: PatchFormat
    eval_quadrant: Quadrant
    n: int
    success_rate: float
    base_success: float
    delta_success: float
    delta_low: float
    delta_high: float


class RetentionRow(Record):
    """What a model still can do of what the base could.

    Attributes:
        model: who played.
        n: tasks that the base did with the choosing seeds.
        retention_success_rate: the model's success there, with other seeds.
        base_retention_success_rate: the base's, with those other seeds.
        retention_drop: base minus model.
        drop_low: lower end (groups resampled).
        drop_high: upper end.
    """

    model: str
    n: int
    retention_success_rate: float
    base_retention_success_rate: float
    retention_drop: float
    drop_low: float
    drop_high: float


class StucknessRow(Record):
    """How often a model goes in circles; rewards play no part."""

    model: str
    dataset: Dataset
    n: int
    mean_repeat_rate: float
    mean_loop_rate: float
    mean_state_loop_rate: float
    mean_steps: float
