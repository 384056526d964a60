"""The records of the training half: what is learnt from, with what settings, and what that did. No torch in here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sightline.teachability.records import PatchFormat, Probability, Quadrant, Record

Source = Literal["correction", "replay", "recovery"]
Loss = Literal["candidates", "tokens"]


class Example(Record):
    """One decision to learn, in tokens.

    What is learnt depends on the source and the format: `demo` (and recovery) raises the chosen candidate,
    `contrast` its lead over the rejected one, `hint` distils the target distribution, which the student itself gave
    when it could read the hint; replay raises the student's own choice and holds it to the target, its distribution
    before training.
    """

    schema_version: Literal[1] = 1
    prompt_ids: tuple[int, ...]
    """Tokens of the prompt as the student reads it when it acts; no teaching text is in it."""
    candidates_ids: tuple[tuple[int, ...], ...] = Field(min_length=1)
    """Tokens of every action, in the page's order."""
    chosen: int = Field(ge=0)
    """Position of the action to learn."""
    rejected: int | None = None
    """Position of the action to avoid, for `contrast`."""
    target: tuple[Probability, ...] | None = None
    """A distribution over the candidates, for `hint` and replay."""
    weight: float = Field(1.0, gt=0)
    """Weight in the loss."""
    source: Source
    """Where it comes from."""
    snapshot_id: str
    """The moment."""
    group: str
    """Its group, by which leaks are found."""
    format: PatchFormat
    """How it is taught."""
    kind: str = ""
    """Kind of the page."""
    action: str
    """Text of the chosen action."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        count = len(self.candidates_ids)
        if self.chosen >= count or (self.rejected is not None and not 0 <= self.rejected < count):
            raise ValueError(f"chosen {self.chosen} and rejected {self.rejected} must be among {count} candidates")
        if not all(self.candidates_ids):
            raise ValueError("every candidate needs at least one token, else nothing is supervised")
        if self.target is not None and len(self.target) != count:
            raise ValueError(f"the target has {len(self.target)} probabilities for {count} candidates")
        if self.source == "correction":
            if self.format == "contrast" and (self.rejected is None or self.rejected == self.chosen):
                raise ValueError("a contrast needs a rejected action other than the chosen one")
            if self.format == "hint" and self.target is None:
                raise ValueError("a hint needs the student's distribution under the hint as its target")
        return self

    @property
    def completion_ids(self) -> tuple[int, ...]:
        """Tokens of the action to learn."""
        return self.candidates_ids[self.chosen]

    @property
    def tokens(self) -> int:
        """Tokens of prompt and action."""
        return len(self.prompt_ids) + len(self.completion_ids)


class LearnerConfig(Record):
    """How the student is trained."""

    rank: int = Field(8, ge=1)
    """Rank of the low-rank adapters on all linear layers but embeddings and head."""
    alpha: int = Field(16, ge=1)
    """Scale of the adapters, before it is divided by the rank."""
    learning_rate: float = Field(3e-4, gt=0)
    """Learning rate of AdamW, constant."""
    epochs: int = Field(3, ge=1)
    """Passes over the examples."""
    batch_size: int = Field(8, ge=1)
    """Examples a step."""
    loss: Loss = "candidates"
    """Cross-entropy among a prompt's candidates, or of the chosen action's tokens."""
    temperature: float = Field(1.0, gt=0)
    """Divides a candidate's score, as when the student acts."""
    length_normalised: bool = False
    """Whether the score is the mean log-probability per token, as when the student acts."""
    anchor: float = Field(0.1, ge=0)
    """Weight of the divergence from the distribution before training, on replay examples."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of AdamW."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""


class TrainingReport(Record):
    """What a training did."""

    schema_version: Literal[1] = 1
    seed: int
    """Seed of adapter and batches."""
    examples: dict[Source, int]
    """Number by source."""
    steps: int
    """Optimiser steps."""
    tokens: int
    """Tokens that were read, padding not counted."""
    supervised_share: float
    """Share of the tokens of prompt and chosen action that stand in the loss."""
    first_loss: float
    """Loss of the first batch, before any step."""
    losses: tuple[float, ...]
    """Mean loss of each epoch."""
    confidence: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Per snapshot, the chosen action's probability at the start of each epoch and after the last; its mean and spread
    are a data map (Swayamdipta et al. 2020). Corrections of the candidate loss only."""
    adapter_before: str
    """Digest of the adapter before the first step."""
    adapter_after: str
    """Digest after the last."""
    base: str
    """Digest of the weights below it, which do not change."""


class RunPlan(Record):
    """One training run of the matrix, before it runs."""

    run_id: str
    """`Q1_demo_s0`, `B1_uniform_s0` or `B2_all_s0`."""
    quadrant: Quadrant | None
    """Which snapshots; None for the baselines."""
    format: PatchFormat
    """How they are taught."""
    seed: int
    """Seed of adapter, batches, sample and replay."""
    snapshot_ids: tuple[str, ...]
    """What is learnt, ascending; empty where the cell is."""
    empty: str | None = None
    """Why the cell is empty, else None."""


class RunRecord(Record):
    """One training run, after it ran."""

    schema_version: Literal[1] = 1
    plan: RunPlan
    """What was asked for."""
    report: TrainingReport
    """What the training did."""
    folder: str
    """Where the adapter lies, relative to the record's file."""


class MicroRow(Record):
    """What a tiny training on one snapshot changed."""

    schema_version: Literal[1] = 1
    snapshot_id: str
    """The snapshot."""
    group: str
    """Its group."""
    quadrant: Quadrant | None
    """Its quadrant."""
    format: PatchFormat
    """How it was taught."""
    learning_rate: float
    """Of the steps."""
    seed: int
    """Of the adapter."""
    elp: float | None
    """In-context payoff of the snapshot, for the correlation; None without patches."""
    route: bool
    """Whether the format is the one that the snapshot is routed to."""
    log_probability: float
    """Change of ln pi of the teacher's action at the snapshot."""
    first_step_gain: float
    """Sum over actions of (pi' - pi)(a) Q(a), at the estimates of Q."""
    siblings: float | None
    """Mean change of ln pi of the teacher's action at moments of other groups with the same mistake."""
    sibling_count: int
    """How many there were."""
    retention: float | None
    """Mean divergence KL(pi || pi') on prompts of successful episodes."""
    loss: float
    """Training loss of the first step."""
