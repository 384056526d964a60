"""The records of the labelling half: what was mined, what the teacher said, what was measured. All of them reach disk.

Rates are bounds with the counts they rest on, never bare numbers. This module knows nothing of models or environments.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Outcome = Literal["success", "failure", "error"]
ErrorType = Literal["affordance_miss", "attribute_confusion", "planning_error", "exploration_failure", "unknown"]
Quadrant = Literal["Q1", "Q2", "Q3", "Q4", "undecided"]
PatchFormat = Literal["demo", "contrast", "hint"]
PatchKind = Literal["demo", "contrast", "hint", "placebo", "mismatched", "answer"]
Split = Literal["label", "calibration", "panel", "test"]
Grade = Literal["improves", "neutral", "harmful"]

QUADRANTS: tuple[Quadrant, ...] = ("Q1", "Q2", "Q3", "Q4")
"""High U and L, high U and low L, low U and L, low U and high L."""

PATCH_FORMATS: tuple[PatchFormat, ...] = ("demo", "contrast", "hint")

Probability = Annotated[float, Field(ge=0, le=1)]

_ROUNDING = 1e-9


class Record(BaseModel):
    """What all records share: they do not change, and know every field they are read with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bound(Record):
    """A number known to lie in an interval.

    Attributes:
        low: lower end.
        high: upper end.
        estimate: best single number in between.
        method: `graph` is certain; `played` is certain and exact, from a deterministic run to the end; `mixed` (a
            certain interval narrowed by rollouts) and `sampled` (rollouts alone) hold with probability .95.
        prompts: policy answers that were bought for it.
        rollouts: sampled episodes that it rests on.
        successes: those among them that succeeded.
    """

    low: float
    high: float
    estimate: float
    method: Literal["graph", "mixed", "sampled", "played"]
    prompts: int = Field(0, ge=0)
    rollouts: int = Field(0, ge=0)
    successes: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        if not self.low - _ROUNDING <= self.estimate <= self.high + _ROUNDING:
            raise ValueError(f"estimate {self.estimate!r} is not between {self.low!r} and {self.high!r}")
        return self

    @property
    def gap(self) -> float:
        """Width of the interval."""
        return self.high - self.low

    def minus(self, other: Bound) -> Bound:
        """Return the difference, as wide as it is without knowing how the two belong together."""
        methods = {self.method, other.method}
        return Bound(
            low=self.low - other.high,
            high=self.high - other.low,
            estimate=self.estimate - other.estimate,
            method="mixed" if methods & {"mixed", "sampled"} else "graph",
            rollouts=self.rollouts + other.rollouts,
        )


class Snapshot(Record):
    """A moment of a student's episode, which can be restored.

    Attributes:
        id: first 16 hexadecimal digits of the state's SHA-256.
        task: number of the goal.
        group: tasks that must not be split apart, such as goals about one product.
        trajectory_id: the episode.
        step: position of the moment in it, from 0.
        state: the dynamics' bytes of the state, in base64.
        instruction: the task in words.
        observation: what the student saw.
        actions: what it could do.
        kind: the kind of page.
        taken: what it did here.
        reward_at_end: what the episode ended with.
        outcome: how the episode ended.
        mined_by: the strategy that chose the moment.
        before_end: steps of the episode from here on, this one included.
    """

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    task: int = Field(ge=0)
    group: str
    trajectory_id: str
    step: int = Field(ge=0)
    state: str
    instruction: str
    observation: str
    actions: tuple[str, ...]
    kind: str = ""
    taken: str
    reward_at_end: float
    outcome: Outcome
    mined_by: str
    before_end: int = Field(ge=1)

    @property
    def state_bytes(self) -> bytes:
        """The state, for `Dynamics.decode`."""
        return base64.b64decode(self.state, validate=True)


def snapshot_id(state: bytes) -> str:
    """Return the name of a state: equal states have equal names in every process."""
    return hashlib.sha256(state).hexdigest()[:16]


class TeacherHint(Record):
    """What a teacher would do, and why.

    Attributes:
        action: one of the snapshot's actions.
        rationale: why.
        error_type: what kind of mistake it corrects.
        confidence: how sure the teacher is.
        teacher: who said so.
        request_hash: digest of the whole request, where one was sent.
    """

    action: str
    rationale: str = ""
    error_type: ErrorType = "unknown"
    confidence: Literal["low", "medium", "high"] = "medium"
    teacher: str = ""
    request_hash: str = ""


class Refusal(Record):
    """Why a teacher gave no usable hint."""

    reason: str


class Uncertainty(Record):
    """How unsure the student is, from its distribution over the actions.

    Attributes:
        probabilities: one per action, in the snapshot's order.
        entropy: in nats.
        entropy_normalised: entropy over the logarithm of the number of actions; 0 where there is one. This is U.
        margin: 1 - (largest - second largest); 0 where there is one action.
        top_k_spread: 1 - (largest - k-th largest), k the smaller of 5 and the number of actions.
        effective_actions: exponential of the entropy.
        gini: 1 - sum of squares.
        pi_teacher: probability of the teacher's action, None without a hint.
        temperature: temperature of the distribution, None where it has none.
    """

    probabilities: tuple[Probability, ...]
    entropy: float
    entropy_normalised: float
    margin: float
    top_k_spread: float
    effective_actions: float
    gini: float
    pi_teacher: Probability | None = None
    temperature: float | None = None


class PairCounts(Record):
    """Outcomes of paired episodes that share their noise.

    Attributes:
        both: pairs in which both arms succeeded.
        first_only: pairs in which only the first arm did.
        second_only: pairs in which only the second did.
        neither: pairs in which none did.
    """

    both: int = Field(ge=0)
    first_only: int = Field(ge=0)
    second_only: int = Field(ge=0)
    neither: int = Field(ge=0)

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return self.both + self.first_only + self.second_only + self.neither


class ValueLabels(Record):
    """Chances of success from a snapshot, as the student goes on, and what one other action would change.

    Attributes:
        V: the student goes on.
        V_reward: expected reward of the student.
        Q_teacher: the teacher's action, then the student.
        Q_taken: the action that the student took, then the student.
        Q: one bound per action, in the snapshot's order.
        V_expert: the teacher takes over; None where it cannot.
        L_local: Q_teacher - V, tighter than the two bounds' difference since V contains Q_teacher.
        L_taken: Q_taken - V, the student's own mistake where negative.
        steps_left: actions the episode still may have.
        pairs: coupled episodes that narrowed L_local, teacher's action first; None where none were needed.
    """

    V: Bound
    V_reward: Bound
    Q_teacher: Bound
    Q_taken: Bound
    Q: tuple[Bound, ...] | None = None
    V_expert: Bound | None = None
    L_local: Bound
    L_taken: Bound
    steps_left: int = Field(ge=0)
    pairs: PairCounts | None = None

    @property
    def L_upper(self) -> Bound | None:  # noqa: N802 - the symbol that the field uses
        """What the teacher in control would add."""
        return None if self.V_expert is None else self.V_expert.minus(self.V)

    @property
    def gap(self) -> Bound | None:
        """What more than one action is needed for: L_upper - L_local."""
        return None if self.V_expert is None else self.V_expert.minus(self.Q_teacher)


class PatchEffect(Record):
    """What one teaching text, shown at the snapshot, does.

    Attributes:
        kind: the format, or the control.
        paraphrase: number of the wording.
        probabilities: the student's distribution under it.
        gain0: what it adds to the chance of success over the placebo, shown at this step alone.
        gain_all: the same, shown at every step; None where it was not measured.
    """

    kind: PatchKind
    paraphrase: int = Field(ge=0)
    probabilities: tuple[Probability, ...]
    gain0: Bound
    gain_all: Bound | None = None


class PatchLabels(Record):
    """In-context teaching: all texts that were tried, and what the best format is worth.

    Attributes:
        effects: one per format or control and paraphrase.
        elp: expected learning payoff: the format is chosen on one half of the paraphrases and valued on the other, both
            ways, averaged; so it is no maximum of noisy numbers.
        routes: the formats chosen on the two halves.
        route: the format with the best mean gain over all paraphrases, for use outside this snapshot.
    """

    effects: tuple[PatchEffect, ...]
    elp: Bound
    routes: tuple[PatchFormat, PatchFormat]
    route: PatchFormat


class Depth(Record):
    """Steps back to the last moment from which a success was likely (at least 1/2).

    Attributes:
        steps: 0 where it still is; where `censored`, the number of steps that were looked at in vain.
        status: `observed`, `censored` (no such moment since the start) or `undecided` (a bound straddles 1/2
            before such a moment is met).
    """

    steps: int = Field(ge=0)
    status: Literal["observed", "censored", "undecided"]


class DepthLabels(Record):
    """How far back the episode could still be saved by the teacher in control, and by one action of the teacher's."""

    expert: Depth | None
    force: Depth | None


class FirstOrder(Record):
    """Gain of an infinitesimal learning step, from probabilities and advantages A(a) = Q(a) - V alone.

    Attributes:
        logit: pi(a*) A(a*): raising the logit of the teacher's action.
        supervised: that minus the sum of pi(a)^2 A(a): one step of supervised learning of a tabular softmax policy.
    """

    logit: float
    supervised: float


class LabelledSnapshot(Record):
    """A snapshot with all that was measured; fields are None until, or unless, they were.

    Attributes:
        snapshot: the moment.
        hint: what the teacher said, or why it did not.
        grade: whether the teacher's action improves the student by at least .02, harms it by as much, or neither.
        uncertainty: how unsure the student is.
        values: chances of success.
        patches: in-context teaching.
        depth: how far back it could be saved.
        first_order: gain of an infinitesimal learning step.
        quadrant: where it stands in the U x L map; None where it was left out of it.
        p_high_u: certainty that U is high.
        p_high_l: certainty that L_local is high.
        split: what it may be used for.
        policy: fingerprint of the student that was labelled.
        error: what the environment raised, where it did; then nothing else was measured.
    """

    schema_version: Literal[1] = 1
    snapshot: Snapshot
    hint: TeacherHint | Refusal | None = None
    grade: Grade | None = None
    uncertainty: Uncertainty | None = None
    values: ValueLabels | None = None
    patches: PatchLabels | None = None
    depth: DepthLabels | None = None
    first_order: FirstOrder | None = None
    quadrant: Quadrant | None = None
    p_high_u: Probability | None = None
    p_high_l: Probability | None = None
    split: Split | None = None
    policy: str = ""
    error: str | None = None

    @property
    def teacher_action(self) -> str | None:
        """The hint's action, None without a hint."""
        return self.hint.action if isinstance(self.hint, TeacherHint) else None
