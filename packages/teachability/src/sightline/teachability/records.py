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
    """A number known to lie in an interval."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""
    estimate: float
    """Best single number in between."""
    method: Literal["graph", "mixed", "sampled", "played"]
    """`graph` is certain; `played` is certain and exact, from a deterministic run to the end; `mixed` (a certain
    interval narrowed by rollouts) and `sampled` (rollouts alone) hold with probability .95."""
    prompts: int = Field(0, ge=0)
    """Policy answers that were bought for it."""
    rollouts: int = Field(0, ge=0)
    """Sampled episodes that it rests on."""
    successes: int = Field(0, ge=0)
    """Those among them that succeeded."""

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
    """A moment of a student's episode, which can be restored."""

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """First 16 hexadecimal digits of the state's SHA-256."""
    task: int = Field(ge=0)
    """Number of the goal."""
    group: str
    """Tasks that must not be split apart, such as goals about one product."""
    trajectory_id: str
    """The episode."""
    step: int = Field(ge=0)
    """Position of the moment in it, from 0."""
    state: str
    """The dynamics' bytes of the state, in base64."""
    instruction: str
    """The task in words."""
    observation: str
    """What the student saw."""
    actions: tuple[str, ...]
    """What it could do."""
    kind: str = ""
    """The kind of page."""
    taken: str
    """What it did here."""
    reward_at_end: float
    """What the episode ended with."""
    outcome: Outcome
    """How the episode ended."""
    mined_by: str
    """The strategy that chose the moment."""
    before_end: int = Field(ge=1)
    """Steps of the episode from here on, this one included."""

    @property
    def state_bytes(self) -> bytes:
        """The state, for `Dynamics.decode`."""
        return base64.b64decode(self.state, validate=True)


def snapshot_id(state: bytes) -> str:
    """Return the name of a state: equal states have equal names in every process."""
    return hashlib.sha256(state).hexdigest()[:16]


class TeacherHint(Record):
    """What a teacher would do, and why."""

    action: str
    """One of the snapshot's actions."""
    rationale: str = ""
    """Why."""
    error_type: ErrorType = "unknown"
    """What kind of mistake it corrects."""
    confidence: Literal["low", "medium", "high"] = "medium"
    """How sure the teacher is."""
    teacher: str = ""
    """Who said so."""
    request_hash: str = ""
    """Digest of the whole request, where one was sent."""


class Refusal(Record):
    """Why a teacher gave no usable hint."""

    reason: str


class Uncertainty(Record):
    """How unsure the student is, from its distribution over the actions."""

    probabilities: tuple[Probability, ...]
    """One per action, in the snapshot's order."""
    entropy: float
    """In nats."""
    entropy_normalised: float
    """Entropy over the logarithm of the number of actions; 0 where there is one. This is U."""
    margin: float
    """1 - (largest - second largest); 0 where there is one action."""
    top_k_spread: float
    """1 - (largest - k-th largest), k the smaller of 5 and the number of actions."""
    effective_actions: float
    """Exponential of the entropy."""
    gini: float
    """1 - sum of squares."""
    pi_teacher: Probability | None = None
    """Probability of the teacher's action, None without a hint."""
    temperature: float | None = None
    """Temperature of the distribution, None where it has none."""


class PairCounts(Record):
    """Outcomes of paired episodes that share their noise."""

    both: int = Field(ge=0)
    """Pairs in which both arms succeeded."""
    first_only: int = Field(ge=0)
    """Pairs in which only the first arm did."""
    second_only: int = Field(ge=0)
    """Pairs in which only the second did."""
    neither: int = Field(ge=0)
    """Pairs in which none did."""

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return self.both + self.first_only + self.second_only + self.neither


class ValueLabels(Record):
    """Chances of success from a snapshot, as the student goes on, and what one other action would change."""

    V: Bound
    """The student goes on."""
    V_reward: Bound
    """Expected reward of the student."""
    Q_teacher: Bound
    """The teacher's action, then the student."""
    Q_taken: Bound
    """The action that the student took, then the student."""
    Q: tuple[Bound, ...] | None = None
    """One bound per action, in the snapshot's order."""
    V_expert: Bound | None = None
    """The teacher takes over; None where it cannot."""
    L_local: Bound
    """Q_teacher - V, tighter than the two bounds' difference since V contains Q_teacher."""
    L_taken: Bound
    """Q_taken - V, the student's own mistake where negative."""
    steps_left: int = Field(ge=0)
    """Actions the episode still may have."""
    pairs: PairCounts | None = None
    """Coupled episodes that narrowed L_local, teacher's action first; None where none were needed."""

    @property
    def L_upper(self) -> Bound | None:  # noqa: N802 - the symbol that the field uses
        """What the teacher in control would add."""
        return None if self.V_expert is None else self.V_expert.minus(self.V)

    @property
    def gap(self) -> Bound | None:
        """What more than one action is needed for: L_upper - L_local."""
        return None if self.V_expert is None else self.V_expert.minus(self.Q_teacher)


class PatchEffect(Record):
    """What one teaching text, shown at the snapshot, does."""

    kind: PatchKind
    """The format, or the control."""
    paraphrase: int = Field(ge=0)
    """Number of the wording."""
    probabilities: tuple[Probability, ...]
    """The student's distribution under it."""
    gain0: Bound
    """What it adds to the chance of success over the placebo, shown at this step alone."""
    gain_all: Bound | None = None
    """The same, shown at every step; None where it was not measured."""


class PatchLabels(Record):
    """In-context teaching: all texts that were tried, and what the best format is worth."""

    effects: tuple[PatchEffect, ...]
    """One per format or control and paraphrase."""
    elp: Bound
    """Expected learning payoff: the format is chosen on one half of the paraphrases and valued on the other, both ways,
    averaged; so it is no maximum of noisy numbers."""
    routes: tuple[PatchFormat, PatchFormat]
    """The formats chosen on the two halves."""
    route: PatchFormat
    """The format with the best mean gain over all paraphrases, for use outside this snapshot."""


class Depth(Record):
    """Steps back to the last moment from which a success was likely (at least 1/2)."""

    steps: int = Field(ge=0)
    """0 where it still is; where `censored`, the number of steps that were looked at in vain."""
    status: Literal["observed", "censored", "undecided"]
    """`observed`, `censored` (no such moment since the start) or `undecided` (a bound straddles 1/2 before such a
    moment is met)."""


class DepthLabels(Record):
    """How far back the episode could still be saved by the teacher in control, and by one action of the teacher's."""

    expert: Depth | None
    force: Depth | None


class FirstOrder(Record):
    """Gain of an infinitesimal learning step, from probabilities and advantages A(a) = Q(a) - V alone."""

    logit: float
    """pi(a*) A(a*): raising the logit of the teacher's action."""
    supervised: float
    """That minus the sum of pi(a)^2 A(a): one step of supervised learning of a tabular softmax policy."""


class LabelledSnapshot(Record):
    """A snapshot with all that was measured; fields are None until, or unless, they were."""

    schema_version: Literal[1] = 1
    snapshot: Snapshot
    """The moment."""
    hint: TeacherHint | Refusal | None = None
    """What the teacher said, or why it did not."""
    grade: Grade | None = None
    """Whether the teacher's action improves the student by at least .02, harms it by as much, or neither."""
    uncertainty: Uncertainty | None = None
    """How unsure the student is."""
    values: ValueLabels | None = None
    """Chances of success."""
    patches: PatchLabels | None = None
    """In-context teaching."""
    depth: DepthLabels | None = None
    """How far back it could be saved."""
    first_order: FirstOrder | None = None
    """Gain of an infinitesimal learning step."""
    quadrant: Quadrant | None = None
    """Where it stands in the U x L map; None where it was left out of it."""
    p_high_u: Probability | None = None
    """Certainty that U is high."""
    p_high_l: Probability | None = None
    """Certainty that L_local is high."""
    split: Split | None = None
    """What it may be used for."""
    policy: str = ""
    """Fingerprint of the student that was labelled."""
    error: str | None = None
    """What the environment raised, where it did; then nothing else was measured."""

    @property
    def teacher_action(self) -> str | None:
        """The hint's action, None without a hint."""
        return self.hint.action if isinstance(self.hint, TeacherHint) else None
