"""The settings of the experiments on reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from lab.settings import RunSettings
from sightline.agents.reasoning import TrainerConfig
from sightline.agents.selfplay import SelfPlayConfig


class Stage(StrEnum):
    """Names of the stages' folders."""

    MAKE_PUZZLES = "make_puzzles"
    COMPARE = "compare"
    ABLATE = "ablate"
    HYBRID = "hybrid"
    PLAYERS = "players"


Experiment = Literal["puzzles", "ablations", "hybrid", "selfplay"]

Network = Literal["conv", "trm", "hrm"]

_PART = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PuzzleSettings(BaseModel):
    """TRM, HRM and plain networks on puzzles."""

    model_config = _PART

    task: str = "sudoku-6"
    """Puzzles on which everything is compared."""
    minutes: float = Field(default=1.5, gt=0)
    """CPU minutes of training of each method."""
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    """Trainings of each method."""
    depths: tuple[int, ...] = (1, 2, 4)
    """Segments K of further trainings of TRM, beside the main one, for the plot of test-time steps."""
    harder: tuple[str, ...] = ()
    """Puzzles on which TRM is trained as well."""
    harder_minutes: float = Field(default=20.0, gt=0)
    """CPU minutes of training for each of these."""
    harder_seeds: tuple[int, ...] = (0,)
    """Trainings for each of these."""
    trainer: TrainerConfig = TrainerConfig(learning_rate=1.5e-3)
    """The trainer of all methods; its length and seed are given by the settings above."""
    puzzles: int = Field(default=4000, ge=20)
    """Puzzles made for training, beside their symmetric images."""
    held_out: int = Field(default=256, ge=2)
    """Puzzles for validation, and for test, each of a symmetry class of its own."""


class AblationSettings(BaseModel):
    """TRM with one part left out, on the same puzzles."""

    model_config = _PART

    minutes: float = Field(default=1.0, gt=0)
    """CPU minutes at which methods are compared at equal compute: before all of them solve everything."""
    steps: int = Field(default=700, ge=1)
    """Optimiser steps at which they are compared at equal updates."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Trainings of each variant."""


class HybridSettings(BaseModel):
    """TRM with search against backtracking."""

    model_config = _PART

    puzzles: int = Field(default=100, ge=1)
    """Test puzzles that are searched."""
    node_limit: int = Field(default=10_000, ge=1)
    """Nodes after which backtracking gives up."""
    simulations: tuple[int, ...] = (32, 128)
    """Budgets of the tree search with TRM's distribution as prior; each fills in a cell."""
    segments: int = Field(default=2, ge=1)
    """Segments that TRM goes through for each position that the tree search asks about."""


class PlayerSettings(BaseModel):
    """TRM and HRM as players of Connect Four, against convolutional networks."""

    model_config = _PART

    columns: int = Field(default=6, ge=4)
    """Of the board."""
    rows: int = Field(default=5, ge=4)
    """Of the board."""
    minutes: float = Field(default=1.0, gt=0)
    """CPU minutes of self-play and learning of each player and of each opponent."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Trainings of each."""
    pairs: int = Field(default=200, ge=2)
    """Openings of a match, each played with both colours."""
    match_simulations: int = Field(default=50, ge=1)
    """Of the search for each move of a match."""
    segments: int = Field(default=1, ge=1)
    """Segments that a reasoner goes through for each position it judges in a search."""
    reasoner: dict[str, int | str] = {"cycles": 2, "updates": 2}
    """What differs from the sizes of reasoners for puzzles."""
    trainer: TrainerConfig = TrainerConfig(batch_size=256, segments=2, warmup=100)
    """The reasoners' trainer."""
    loop: SelfPlayConfig = SelfPlayConfig(updates=1_000_000)
    """Self-play of both, and the convolutional network's training."""


class ReasoningSettings(RunSettings):
    """How far do small recursive reasoners and search get, and what of them does the work?"""

    SMOKE: ClassVar[Mapping[str, Any]] = {
        "puzzles": {
            "task": "sudoku-4",
            "minutes": 0.01,
            "seeds": (0,),
            "depths": (1,),
            "trainer": {"batch_size": 16, "segments": 4, "warmup": 5, "precision": "float32"},
            "puzzles": 400,
            "held_out": 8,
        },
        "ablations": {"minutes": 0.01, "steps": 8},
        "hybrid": {"puzzles": 5, "node_limit": 200, "simulations": (16,)},
        "players": {
            "columns": 5,
            "rows": 4,
            "minutes": 0.05,
            "pairs": 4,
            "match_simulations": 4,
            "loop": {"games": 8, "simulations": 4, "batch_size": 16},
            "trainer": {"batch_size": 16, "segments": 2, "precision": "float32"},
        },
    }
    FULL: ClassVar[Mapping[str, Any]] = {
        "puzzles": {
            "minutes": 5.0,
            "seeds": (0, 1),
            "harder": ("sudoku-9-30-36", "maze-10"),
            "held_out": 512,
        },
        "ablations": {"seeds": (0, 1, 2)},
        "hybrid": {"simulations": (64, 256, 1024)},
        "players": {"minutes": 5.0},
    }
    INCIDENTAL: ClassVar[frozenset[str]] = RunSettings.INCIDENTAL | {"processes", "only", "network"}

    full: bool = False
    """Longer trainings, more of them, and harder puzzles: hours on two cores."""
    only: tuple[Experiment, ...] = ("puzzles", "ablations", "hybrid", "selfplay")
    """Experiments to run; those that need another's models run it as well."""
    network: tuple[Network, ...] = ("conv", "trm", "hrm")
    """Networks that learn by self-play: the convolutional one, and reasoners that are matched against it."""
    processes: int = Field(default=2, ge=1)
    """Worker processes of one thread each; more of them share the machine and slow each other down."""
    puzzles: PuzzleSettings = PuzzleSettings()
    """Recursive reasoners against plain networks."""
    ablations: AblationSettings = AblationSettings()
    """What of TRM does the work."""
    hybrid: HybridSettings = HybridSettings()
    """TRM with search."""
    players: PlayerSettings = PlayerSettings()
    """TRM and HRM in the self-play loop."""
