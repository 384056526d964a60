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

    Attributes:
        prompt_ids: tokens of the prompt as the student reads it when it acts; no teaching text is in it.
        candidates_ids: tokens of every action, in the page's order.
        chosen: position of the action to learn.
        rejected: position of the action to avoid, for `contrast`.
        target: a distribution over the candidates, for `hint` and replay.
        weight: weight in the loss.
        source: where it comes from.
        snapshot_id: the moment.
        group: its group, by which leaks are found.
        format: how it is taught.
        kind: kind of the page.
        action: text of the chosen action.
    """

    schema_version: Literal[1] = 1
    prompt_ids: tuple[int, ...]
    candidates_ids: tuple[tuple[int, ...], ...] = Field(min_length=1)
    chosen: int = Field(ge=0)
    rejected: int | None = None
    target: tuple[Probability, ...] | None = None
    weight: float = Field(1.0, gt=0)
    source: Source
    snapshot_id: str
    group: str
    format: PatchFormat
    kind: str = ""
    action: str

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
    """How the student is trained.

    Attributes:
        rank: of the low-rank adapters on all linear layers but embeddings and head.
        alpha: their scale, times 1 / rank.
        learning_rate: of AdamW, constant.
        epochs: passes over the examples.
        batch_size: examples a step.
        loss: cross-entropy among a prompt's candidates, or of the chosen action's tokens.
        temperature: divides a candidate's score, as when the student acts.
        length_normalised: whether the score is the mean log-probability per token, as when the student acts.
        anchor: weight of the divergence from the distribution before training, on replay examples.
        weight_decay: decoupled, of AdamW.
        clip: largest norm of the gradient.
    """

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    epochs: int = Field(3, ge=1)
    batch_size: int = Field(8, ge=1)
    loss: Loss = "candidates"
    temperature: float = Field(1.0, gt=0)
    length_normalised: bool = False
    anchor: float = Field(0.1, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)


class TrainingReport(Record):
    """What a training did.

    Attributes:
        seed: seed of adapter and batches.
        examples: number by source.
        steps: optimiser steps.
        tokens: tokens that were read, padding not counted.
        supervised_share: share of the tokens of prompt and chosen action that stand in the loss.
        first_loss: loss of the first batch, before any step.
        losses: mean loss of each epoch.
        confidence: per snapshot, the chosen action's probability at the start of each epoch and after the last; its
            mean and spread are a data map (Swayamdipta et al. 2020). Corrections of the candidate loss only.
        adapter_before: digest of the adapter before the first step.
        adapter_after: digest after the last.
        base: digest of the weights below it, which do not change.
    """

    schema_version: Literal[1] = 1
    seed: int
    examples: dict[Source, int]
    steps: int
    tokens: int
    supervised_share: float
    first_loss: float
    losses: tuple[float, ...]
    confidence: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    adapter_before: str
    adapter_after: str
    base: str


class RunPlan(Record):
    """One training run of the matrix, before it runs.

    Attributes:
        run_id: `Q1_demo_s0`, `B1_uniform_s0` or `B2_all_s0`.
        quadrant: which snapshots; None for the baselines.
        format: how they are taught.
        seed: seed of adapter, batches, sample and replay.
        snapshot_ids: what is learnt, ascending; empty where the cell is.
        empty: why the cell is empty, else None.
    """

    run_id: str
    quadrant: Quadrant | None
    format: PatchFormat
    seed: int
    snapshot_ids: tuple[str, ...]
    empty: str | None = None


class RunRecord(Record):
    """One training run, after it ran.

    Attributes:
        plan: what was asked for.
        report: what the training did.
        folder: where the adapter lies, relative to the record's file.
    """

    schema_version: Literal[1] = 1
    plan: RunPlan
    report: TrainingReport
    folder: str


class MicroRow(Record):
    """What a tiny training on one snapshot changed.

    Attributes:
        snapshot_id: the snapshot.
        group: its group.
        quadrant: its quadrant.
        format: how it was taught.
        learning_rate: of the steps.
        seed: of the adapter.
        elp: in-context payoff of the snapshot, for the correlation; None without patches.
        route: whether the format is the one that the snapshot is routed to.
        log_probability: change of ln pi of the teacher's action at the snapshot.
        first_step_gain: sum over actions of (pi' - pi)(a) Q(a), at the estimates of Q.
        siblings: mean change of ln pi of the teacher's action at moments of other groups with the same mistake.
        sibling_count: how many there were.
        retention: mean divergence KL(pi || pi') on prompts of successful episodes.
        loss: training loss of the first step.
    """

    schema_version: Literal[1] = 1
    snapshot_id: str
    group: str
    quadrant: Quadrant | None
    format: PatchFormat
    learning_rate: float
    seed: int
    elp: float | None
    route: bool
    log_probability: float
    first_step_gain: float
    siblings: float | None
    sibling_count: int
    retention: float | None
    loss: float
