"""Sizes of the reasoners and settings of their training; nothing here loads PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

if TYPE_CHECKING:
    from sightline.agents.reasoning.puzzles.tasks import PuzzleTask

_LONGEST_MIXED = 81


class ReasonerConfig(BaseModel):
    """What every reasoner has: the size of its question, of its latents and of one network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(description="Name of what it answers, for example sudoku-6.")
    length: int = Field(ge=1, description="Cells of a question, L.")
    vocabulary: int = Field(ge=2, description="Tokens of a question's cells, V, and of an answer's.")
    actions: int | None = Field(
        None, ge=2, description="Actions of a game, A, for a policy and a value in place of tokens; None for puzzles."
    )
    width: int = Field(64, ge=8, description="Size of a cell's latent vectors, D.")
    layers: int = Field(2, ge=1, description="Blocks of one network.")
    expansion: float = Field(2.0, gt=0, description="Hidden units of a gated layer for each unit of its input.")
    mixing: Literal["positions", "attention"] = Field(
        "positions", description="How cells see each other: a gated layer over the cells, or rotary attention."
    )
    heads: int = Field(4, ge=1, description="Attention heads; width / heads is even.")
    halt_threshold: float | None = Field(
        None, gt=0, lt=1, description="Confidence at which solving stops; None goes through all steps."
    )
    seed: int = Field(0, ge=0, description="Of the initial weights.")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.mixing == "attention" and self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} is no multiple of 2 x {self.heads} heads, which rotary attention needs"
            )
        return self

    @classmethod
    def for_task(cls, task: PuzzleTask, **settings: Any) -> Self:
        """Return the configuration that fits a puzzle; long puzzles get attention unless `settings` say otherwise."""
        mixing = "positions" if task.length <= _LONGEST_MIXED else "attention"
        fitting = {"task": task.name, "length": task.length, "vocabulary": task.vocabulary, "mixing": mixing}
        return cls.model_validate(fitting | settings)


class RecursiveConfig(ReasonerConfig):
    """What both recursive reasoners have beside: how often they go round, and how much of it learns."""

    cycles: int = Field(2, ge=1, description="Updates of the answer in one segment, T.")
    updates: int = Field(3, ge=1, description="Updates of the latent before each update of the answer, n.")
    gradient: Literal["one_step", "last_cycle", "full"] = Field(
        "last_cycle",
        description="Part of a segment that gradients cross: the last update of each kind, a cycle, or all.",
    )
    reinject: bool = Field(
        True, description="The question enters every update of the latent; otherwise only the initial answer."
    )
    continue_head: bool = Field(
        False, description="A second logit values going on (Q-learning, as HRM was published); halting compares both."
    )


class TRMConfig(RecursiveConfig):
    """A tiny recursive model: one network for both kinds of update (arXiv 2510.04871)."""

    kind: Literal["trm"] = "trm"


class HRMConfig(RecursiveConfig):
    """A hierarchical reasoning model: a network for each kind of update (arXiv 2506.21734).

    With half the layers of a `TRMConfig` it has the same number of parameters.
    """

    kind: Literal["hrm"] = "hrm"
    layers: int = Field(1, ge=1, description="Blocks of each of the two networks.")


class PlainConfig(ReasonerConfig):
    """The comparison: the same blocks applied once, one after another."""

    kind: Literal["plain"] = "plain"

    @classmethod
    def equal_parameters(cls, config: TRMConfig) -> PlainConfig:
        """Return the plain network of as many parameters: the same blocks, applied once."""
        return cls.model_validate(config.model_dump(include=set(ReasonerConfig.model_fields)))

    @classmethod
    def equal_compute(cls, config: TRMConfig) -> PlainConfig:
        """Return the plain network of as many operations as one segment: a block of its own for each application."""
        layers = config.layers * config.cycles * (config.updates + 1)
        return cls.equal_parameters(config).model_copy(update={"layers": layers})


AnyReasonerConfig = Annotated[TRMConfig | HRMConfig | PlainConfig, Field(discriminator="kind")]
"""A configuration as it stands in a file, told apart by `kind`."""

reasoner_config: TypeAdapter[TRMConfig | HRMConfig | PlainConfig] = TypeAdapter(AnyReasonerConfig)


class TrainerConfig(BaseModel):
    """How a reasoner is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int | None = Field(None, ge=1, description="Optimiser steps; equal steps give equal weights bit for bit.")
    minutes: float | None = Field(
        None, gt=0, description="CPU minutes of training (wall-clock minutes on a GPU), evaluation not counted."
    )
    batch_size: int = Field(64, ge=1, description="Questions at work at a time, B.")
    segments: int = Field(8, ge=1, description="Most segments that a question is worked at, K.")
    supervision: Literal["segments", "decayed", "last"] = Field(
        "segments",
        description="An optimiser step after each segment; one for all K, their losses weighted by powers of decay; or "
        "one for the last of K.",
    )
    decay: float = Field(0.5, gt=0, le=1, description="Weight of a segment's loss by its distance from the last.")
    halting: bool = Field(True, description="A question leaves when its halting logit is positive; else after K.")
    explore: float = Field(0.1, ge=0, le=1, description="Share of questions kept for a random number of segments.")
    full_depth: float = Field(0.25, ge=0, le=1, description="Share of questions kept for all K segments.")
    stablemax: bool = Field(False, description="Cross-entropy of the stable-max in float64 in place of the softmax.")
    halt_weight: float = Field(0.5, ge=0, description="Weight of the halting loss.")
    ponder_weight: float = Field(0.0, ge=0, description="Weight of the expected number of segments.")
    consistency_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of an answer's squared distance from the next segment's; decayed supervision only.",
    )
    learning_rate: float = Field(2e-3, gt=0, description="Rate of AdamW, constant after the warm-up.")
    warmup: int = Field(200, ge=0, description="Steps of linear warm-up.")
    betas: tuple[float, float] = Field((0.9, 0.95), description="Decays of AdamW's moments.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay of matrices.")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    ema: float | None = Field(
        0.995, gt=0, lt=1, description="Decay of the averaged weights that are evaluated and saved; None: no average."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Arithmetic of the networks; auto is bfloat16 where that is faster, float16 needs CUDA."
    )
    device: str = Field("cpu", description="A PyTorch device.")
    puzzles: int = Field(4000, ge=2, description="Puzzles made for training, beside their symmetric images.")
    held_out: int = Field(256, ge=1, description="Puzzles of the validation part and of the test part each.")
    augment: bool = Field(True, description="A random symmetric image each time a puzzle is drawn.")
    evaluate_every: float = Field(
        30.0, gt=0, description="Least training seconds between evaluations, which take a seventh of the time at most."
    )
    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints.")
    seed: int = Field(0, ge=0, description="Seed of puzzles, batches and exploration.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.consistency_weight and self.supervision != "decayed":
            raise ValueError('consistency_weight needs supervision="decayed": other segments share no graph')
        if self.ponder_weight and self.supervision == "last":
            raise ValueError(
                'ponder_weight needs supervision="segments" or "decayed": the last segment alone has no sum'
            )
        if self.explore + self.full_depth > 1:
            raise ValueError(f"explore {self.explore} and full_depth {self.full_depth} are shares of one whole")
        if self.precision == "float16" and not self.device.startswith("cuda"):
            raise ValueError("float16 needs a CUDA device; take bfloat16 or auto")
        return self
