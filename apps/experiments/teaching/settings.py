"""The settings of the experiment with teachable moments, whole and one stage at a time."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lab.settings import RunSettings, WorkerSettings
from sightline.agents.chat import ChatConfig
from sightline.teachability.records import PatchFormat
from sightline.teachability.training_records import LearnerConfig


class Stage(StrEnum):
    """Names of the stages' folders."""

    WORLD = "01-world"
    STUDENT = "02-student"
    EPISODES = "03-episodes"
    MOMENTS = "04-moments"
    LABELS = "05-labels"
    PATCHES = "06-patches"
    MICRO = "07-micro"
    MATRIX = "08-matrix"
    SUITE = "09-suite"
    PREDICTOR = "10-predictor"
    SELECTION = "11-selection"
    RECOVERY = "12-recovery"


TeacherChoice = Literal["goal", "best", "chat"]


class StudentSettings(WorkerSettings):
    """What every command of the experiment needs: a shop, a student, a teacher and how the student is trained."""

    generated_products: int = Field(default=1000, ge=100)
    """Products in the generated catalogue."""
    shop_seed: int = 42
    """Seed of the catalogue, its prices and its goals."""
    step_limit: int = Field(default=15, ge=3)
    """Actions after which an episode ends."""

    model: str | None = None
    """Causal language model to teach in place of the small packaged one: any Hugging Face id or path. The packaged one
    reads no tips; `teachability.py tip-student` trains one that may."""
    temperature: float = Field(default=0.25, gt=0)
    """Divides the student's mean log-probability per token; it acts by sampling at this temperature."""
    teacher: TeacherChoice = "goal"
    """Who gives hints: one who knows the goal, the student's own best action, or a chat model."""
    chat: ChatConfig | None = None
    """The chat model of `--teacher chat`: any OpenAI-compatible server; its key is OPENAI_API_KEY."""
    learner: LearnerConfig = LearnerConfig()
    """Training of the student's adapters; it is scored there as it acts, whatever is said here of temperature and
    length."""

    @model_validator(mode="after")
    def _chat_is_described(self) -> Self:
        if self.teacher == "chat" and self.chat is None:
            raise ValueError("--teacher chat needs to know the model: give --chat.model and --chat.base-url")
        return self

    @property
    def learner_config(self) -> LearnerConfig:
        """The learner's settings, with the scores by which the student acts."""
        return self.learner.model_copy(update={"temperature": self.temperature, "length_normalised": True})


class MeasureSettings(StudentSettings):
    """How values are measured and trained students are evaluated."""

    max_prompts: int = Field(default=120, ge=8)
    """Most answers of the student for the values around one moment."""
    tolerance: float = Field(default=0.03, ge=0)
    """Gap at which a value is known well enough."""
    most_pairs: int = Field(default=16, ge=4)
    """Most pairs of sampled episodes where those answers leave open whether an action helps."""
    test_goals: int = Field(default=200, ge=4, le=500)
    """Goals of the test split that every student plays."""
    evaluation_seeds: tuple[int, ...] = (0,)
    """Noise of the sampled episodes of the evaluation; all students meet the same."""
    panel_moments: int = Field(default=60, ge=4)
    """Moments of the panel from which every student plays on."""
    replay_share: float = Field(default=1.0, ge=0)
    """States of the student's own successes for each correction."""


class TeachingSettings(MeasureSettings):
    """Which moments of a student's failures teach? Labels them, trains on them, and answers seven hypotheses."""

    SMOKE: ClassVar[Mapping[str, Any]] = {
        "pool_goals": 40,
        "label_moments": 10,
        "calibration_moments": 6,
        "panel_candidates": 6,
        "cell": 2,
        "smallest": 1,
        "max_prompts": 16,
        "most_pairs": 4,
        "audit_moments": 1,
        "micro_moments": 2,
        "micro_rates": (1e-3,),
        "micro_seeds": (0,),
        "formats": ("demo",),
        "training_seeds": (0,),
        "predictor": "ridge",
        "test_goals": 8,
        "panel_moments": 4,
        "selection_seeds": (0,),
        "arms": ("random", "entropy"),
        "select": 4,
        "recovery_seeds": (0,),
        "recovery_trajectories": 4,
        "recovery_examples": 8,
        "learner": {"epochs": 1},
    }

    pool_goals: int = Field(default=819, ge=10)
    """Goals of the development split that moments are looked for in; those about products of test goals are left
    out."""
    rollouts: int = Field(default=2, ge=1)
    """Sampled episodes of each goal of the pool."""
    mine: str = "uniform"
    """How a failure's moment is chosen: uniform, before_end:K or first_drop."""
    label_moments: int = Field(default=288, ge=4)
    """Most moments to label for training; fewer where every quadrant is full before."""
    calibration_moments: int = Field(default=60, ge=4)
    """Moments that the thresholds of the quadrants are taken from."""
    panel_candidates: int = Field(default=80, ge=4)
    """Moments to label for the panel."""
    cell: int = Field(default=48, ge=1)
    """Moments at which a quadrant is full."""
    smallest: int = Field(default=40, ge=1)
    """Moments that a quadrant needs for its runs of the matrix."""
    audit_moments: int = Field(default=8, ge=0)
    """Calibration moments at which tips are also shown at every step until the end."""
    micro_moments: int = Field(default=32, ge=0)
    """Moments to train on singly."""
    micro_rates: tuple[float, ...] = (3e-4, 1e-3)
    """Learning rates of the single trainings."""
    micro_seeds: tuple[int, ...] = (0, 1)
    """Seeds of their adapters."""
    formats: tuple[PatchFormat, ...] = ("demo", "contrast", "hint")
    """Formats of supervision: the columns of the training matrix."""
    training_seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of every cell of the matrix."""
    predictor: Literal["ridge", "mlp"] = "mlp"
    """The predictor of what a moment is worth."""
    arms: tuple[str, ...] = ("random", "entropy", "predictor", "oracle", "s1")
    """Ways to choose moments; there are also leverage, first_error, judge, less and improving."""
    select: int = Field(default=80, ge=2)
    """Moments that each of them chooses."""
    selection_seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds of each."""
    recovery_seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds on recovery trajectories."""
    recovery_trajectories: int = Field(default=200, ge=1)
    """Most trajectories of the teacher in control."""
    recovery_examples: int = Field(default=200, ge=1)
    """Most steps of them to train on, against as many single corrections."""


class SelectSettings(MeasureSettings):
    """Choose moments of a file by several methods, train a student on each choice, and compare them."""

    name: str = "select"
    """Name of the run; its folder is OUTPUT/teachability/NAME. A run that was stopped resumes under its name."""
    labelled: Path = Path("labeled_snapshots.jsonl")
    """File of labelled moments, one JSON object a line."""
    predictor: Path | None = None
    """Folder of a predictor; without one the arm `predictor` is left out."""
    budget: int = Field(default=500, ge=1)
    """Moments that each method chooses."""
    arms: tuple[str, ...] = ("random", "entropy", "predictor", "oracle", "s1")
    """Ways to choose moments."""
    selection_seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds of each."""


class RecoverSettings(StudentSettings):
    """Let a teacher take over at moments of a file, and write down how it goes on."""

    name: str = "recover"
    """Name of the run; its folder is OUTPUT/teachability/NAME. A run that was stopped resumes under its name."""
    labelled: Path = Path("labeled_snapshots.jsonl")
    """File of labelled moments."""
    expert: Literal["teacher", "best"] = "teacher"
    """Who takes over: the one who knows the goal, or the student's own best actions."""
    max_trajectories: int = Field(default=200, ge=1)
    """Most trajectories."""
    order: Literal["L_upper", "ELP", "random"] = "L_upper"
    """Which moments come first."""


class TrainRecoverySettings(StudentSettings):
    """Train a student on recovery trajectories of a file."""

    name: str = "train-recovery"
    """Name of the run; its folder is OUTPUT/teachability/NAME. A run that was stopped resumes under its name."""
    recoveries: Path = Path("recovery_trajectories.jsonl")
    """File of recovery trajectories."""
    max_examples: int = Field(default=2000, ge=1)
    """Most steps to train on."""
    training_seed: int = 0
    """Seed of adapter and batches."""


class PredictSettings(RunSettings):
    """Predict what moments of a file are worth, with a predictor's folder, or train one on them first."""

    name: str = "predict"
    """Name of the run; its folder is OUTPUT/teachability/NAME. A run that was stopped resumes under its name."""
    labelled: Path = Path("labeled_snapshots.jsonl")
    """File of labelled moments."""
    rollouts: Path | None = None
    """File of the episodes they come from; without it what went before a moment counts as nothing."""
    predictor: Path | None = None
    """Folder of a predictor; without one it is trained here, and every moment is scored out of fold."""
    kind: Literal["ridge", "mlp"] = "mlp"
    """Kind of a predictor that is trained here."""


class EvaluateSettings(MeasureSettings):
    """Play test goals and the moments of a file with adapters of a student, and compare them with it."""

    name: str = "evaluate"
    """Name of the run; its folder is OUTPUT/teachability/NAME. A run that was stopped resumes under its name."""
    labelled: Path | None = None
    """File of labelled moments for the panel; without it only goals are played."""
    adapters: tuple[Path, ...] = ()
    """Folders of adapters; the student without any is always played."""


class TipStudentSettings(StudentSettings):
    """Train the packaged student on until it reads tips."""

    name: str = "tip-student"
    """Name of the run; its folder is OUTPUT/teachability/NAME. A run that was stopped resumes under its name."""
    goals: int = Field(default=500, ge=1)
    """Training goals whose pages are used."""
    examples: int = Field(default=8000, ge=1)
    """Examples to learn from."""
    steps: int = Field(default=250, ge=1)
    """Optimiser steps of 32 examples."""
    learning_rate: float = Field(default=1.5e-3, gt=0)
    """Peak learning rate."""
    gate_goals: int = Field(default=500, ge=2)
    """Development goals on which it must do as well, without tips, as the packaged student."""
