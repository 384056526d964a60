"""The settings of the experiments on reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from lab.settings import WorkerSettings
from sightline.agents.reasoning import TrainerConfig
from sightline.agents.selfplay import SelfPlayConfig


class Stage(StrEnum):
    """Names of the stages' folders."""

    MAKE_PUZZLES = "make_puzzles"
    COMPARE = "compare"
    ABLATE = "ablate"
    HYBRID = "hybrid"
    PLAYERS = "players"
    SOLVE_POSITIONS = "solve_positions"
    RATES = "rates"
    SELF_PLAY = "self_play"
    MATCHES = "matches"
    RATINGS = "ratings"
    LEARN_REWARDS = "learn_rewards"
    CHOOSE = "choose"
    SHOP = "shop"
    TEACH = "teach"


Experiment = Literal["puzzles", "ablations", "hybrid", "search", "selfplay", "shop", "teaching"]

Network = Literal["conv", "trm", "hrm"]

_PART = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PuzzleSettings(BaseModel):
    """TRM, HRM and plain networks on puzzles."""

    model_config = _PART

    task: str = "sudoku-6"
    """Puzzles on which everything is compared."""
    minutes: float = Field(default=1.0, gt=0)
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

    minutes: float = Field(default=0.75, gt=0)
    """CPU minutes at which methods are compared at equal compute: before all of them solve everything."""
    steps: int = Field(default=500, ge=1)
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


class ReasonerSizes(BaseModel):
    """Sizes of reasoners that play; a YAML file may give any other field of `TRMConfig` and `HRMConfig` as well."""

    model_config = _PART | ConfigDict(extra="allow")

    cycles: int = Field(default=2, ge=1)
    """Times that the answer is updated in a segment."""
    updates: int = Field(default=2, ge=1)
    """Updates of the scratch space before each of these."""


class PlayerSettings(BaseModel):
    """TRM and HRM as players of Connect Four, against convolutional networks."""

    model_config = _PART

    columns: int = Field(default=6, ge=4)
    """Columns of the board."""
    rows: int = Field(default=5, ge=4)
    """Rows of the board."""
    minutes: float = Field(default=1.0, gt=0)
    """CPU minutes of self-play and learning of each player and of each opponent."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Trainings of each."""
    pairs: int = Field(default=200, ge=2)
    """Openings of a match, each played with both colours."""
    match_simulations: int = Field(default=50, ge=1)
    """Simulations of the search for each move of a match."""
    segments: int = Field(default=1, ge=1)
    """Segments that a reasoner goes through for each position it judges in a search."""
    reasoner: ReasonerSizes = ReasonerSizes()
    """Sizes of the reasoners that play, where they differ from those for puzzles."""
    trainer: TrainerConfig = TrainerConfig(batch_size=256, segments=2, warmup=100)
    """The reasoners' trainer."""
    loop: SelfPlayConfig = SelfPlayConfig(updates=1_000_000)
    """Self-play of both, and the convolutional network's training."""


class BoardSettings(BaseModel):
    """Search on boards, and the convolutional network that learns Connect Four from its own games."""

    model_config = _PART

    columns: int = Field(default=6, ge=4)
    """Columns of the board of Connect Four."""
    rows: int = Field(default=5, ge=4)
    """Rows of the board of Connect Four."""
    seed: int = Field(default=0, ge=0)
    """Seed of positions, openings, training and players."""
    plies: tuple[int, ...] = Field(default=(8, 11, 14), min_length=1)
    """Moves after which random positions are solved; the fewer, the longer it takes."""
    positions: int = Field(default=150, ge=1)
    """Solved positions with a losing choice after each of these."""
    tic_tac_toe_every: int = Field(default=5, ge=1)
    """Distance between the positions of tic-tac-toe that are searched; 1 takes all 4,520."""
    tic_tac_toe_simulations: tuple[int, ...] = (8, 16, 32, 64, 128, 200, 1000)
    """Budgets in tic-tac-toe."""
    simulations: tuple[int, ...] = (8, 16, 32, 64, 128, 400)
    """Budgets in Connect Four without a network."""
    network_simulations: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Budgets with the network."""
    minutes: float = Field(default=5.0, gt=0)
    """CPU minutes of self-play and learning."""
    snapshots: int = Field(default=4, ge=1)
    """Networks that are kept on the way, the last one included."""
    threats: bool = True
    """Show the network the empty cells that complete a line, beside the stones; see `ConnectFour`."""
    loop: SelfPlayConfig = SelfPlayConfig(
        updates=1_000_000, games=128, buffer_size=100_000, opening_plies=14, final_rate=0.02, decisive=True
    )
    """Self-play and learning; the network plays its matches with the same `decisive`."""
    match_simulations: int = Field(default=50, ge=2)
    """Simulations of the network's search for each move of a match."""
    opponent_simulations: int = Field(default=400, ge=1)
    """Simulations of its opponent, which judges leaves by random games."""
    match_pairs: int = Field(default=200, ge=2)
    """Openings of the match against it, each played with both colours."""
    solver_pairs: int = Field(default=30, ge=2)
    """Drawn openings of the match against perfect play."""
    solver_plies: int = Field(default=10, ge=0)
    """Moves before these; the fewer, the longer perfect play takes."""
    rating_pairs: int = Field(default=30, ge=2)
    """Openings of each match among the networks."""


class ShopSettings(BaseModel):
    """Planning in the shop."""

    model_config = _PART

    products: int = Field(default=1000, ge=100)
    """Products of the generated catalogue."""
    goals: Literal["human", "synthetic"] = "human"
    """Whose instructions the goals come from."""
    shop_seed: int = 42
    """Seed of the catalogue and its goals."""
    step_limit: int = Field(default=15, ge=3)
    """Steps of an episode."""
    seed: int = Field(default=0, ge=0)
    """Seed of searches, samples and fits."""
    training_goals: int = Field(default=500, ge=4)
    """Goals whose purchases the reward model learns from."""
    naive_goals: int = Field(default=60, ge=2)
    """Goals of the naive reward model, which is a warning."""
    rounds: int = Field(default=2, ge=0)
    """Times that the reward model is fitted to its own mistakes as well."""
    dev_goals: int = Field(default=100, ge=2)
    """Goals on which caution, margin and budget are chosen."""
    test_goals: int = Field(default=200, ge=2)
    """Goals of the final figures."""
    simulations: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    """Budgets of the searches."""
    pessimism: tuple[float, ...] = (0.0, 1.0, 2.0)
    """Cautions to choose from, in standard deviations among the reward model's members."""
    margins: tuple[float, ...] = (0.0, 0.05, 0.1)
    """Margins to choose from, by which a plan must seem better than the actor's own way."""
    beam_width: int = Field(default=4, ge=1)
    """States that beam search keeps."""
    teaching_goals: int = Field(default=400, ge=1)
    """Training goals whose plans the student imitates."""
    teaching_simulations: int = Field(default=64, ge=1)
    """Simulations of the search for each of these, by the oracle's rewards and the student's own proposals."""
    teaching_steps: int = Field(default=400, ge=1)
    """Optimiser steps of the student."""
    fresh_goals: int = Field(default=500, ge=2)
    """Test goals on which the student shops before and after."""


class ReasoningSettings(WorkerSettings):
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
        "boards": {
            "columns": 5,
            "rows": 4,
            "plies": (8, 12),
            "positions": 8,
            "tic_tac_toe_every": 100,
            "tic_tac_toe_simulations": (8, 64),
            "simulations": (8, 64),
            "network_simulations": (8,),
            "minutes": 0.05,
            "snapshots": 2,
            "loop": {"games": 8, "simulations": 4, "batch_size": 16, "precision": "float32"},
            "match_simulations": 4,
            "opponent_simulations": 8,
            "match_pairs": 4,
            "solver_pairs": 2,
            "rating_pairs": 2,
        },
        "shop": {
            "products": 150,
            "training_goals": 12,
            "naive_goals": 4,
            "rounds": 1,
            "dev_goals": 4,
            "test_goals": 5,
            "simulations": (1, 16),
            "pessimism": (1.0,),
            "teaching_goals": 4,
            "teaching_simulations": 8,
            "teaching_steps": 3,
            "fresh_goals": 5,
        },
    }
    FULL: ClassVar[Mapping[str, Any]] = {
        "only": ("puzzles", "ablations", "hybrid", "search", "selfplay", "shop", "teaching"),
        "puzzles": {
            "minutes": 5.0,
            "seeds": (0, 1),
            "harder": ("sudoku-9-30-36", "maze-10"),
            "held_out": 512,
        },
        "ablations": {"minutes": 1.25, "steps": 700, "seeds": (0, 1, 2)},
        "hybrid": {"simulations": (64, 256, 1024)},
        "players": {"minutes": 5.0},
        "boards": {"minutes": 10.0, "plies": (6, 10, 14), "solver_pairs": 100, "rating_pairs": 100},
        "shop": {"training_goals": 2000, "dev_goals": 500, "test_goals": 500},
    }
    INCIDENTAL: ClassVar[frozenset[str]] = WorkerSettings.INCIDENTAL | {"only", "network"}

    full: bool = False
    """Longer trainings, more of them, and harder puzzles: hours on two cores."""
    only: tuple[Experiment, ...] = ("puzzles", "ablations", "hybrid", "search", "selfplay", "shop")
    """Experiments to run; those that need another's models run it as well. Teaching is by search in the shop."""
    network: tuple[Network, ...] = ("conv", "trm", "hrm")
    """Networks that learn by self-play: the convolutional one, and reasoners that are matched against it."""
    puzzles: PuzzleSettings = PuzzleSettings()
    """Recursive reasoners against plain networks."""
    ablations: AblationSettings = AblationSettings()
    """What of TRM does the work."""
    hybrid: HybridSettings = HybridSettings()
    """TRM with search."""
    players: PlayerSettings = PlayerSettings()
    """TRM and HRM in the self-play loop."""
    boards: BoardSettings = BoardSettings()
    """Search on boards, and self-play."""
    shop: ShopSettings = ShopSettings()
    """Planning in the shop."""
