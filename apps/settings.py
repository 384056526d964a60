"""The settings of the experiments, and how a command line and a YAML file become them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import tyro
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sightline.agents.chat import TokenPrices
from sightline.agents.state import NextActionTrainingConfig, StateModelConfig
from sightline.agents.student import StudentDataConfig, StudentTrainingConfig
from sightline.retrieval import ChunkingConfig, RetrieverTrainingConfig

_FROZEN = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Phase1Settings(BaseModel):
    """Collect demonstrations in the shop and train a recurrent state model to predict the next action's type."""

    model_config = _FROZEN

    name: str = "default"
    """Name of the run; its folder is OUTPUT/APP/NAME. A run that was stopped resumes under its name."""
    output: Path = Path("runs")
    """Folder that holds all runs."""
    config: Path | None = None
    """YAML file with any of these settings; flags on the command line win over it."""
    smoke: bool = False
    """A version of about one minute: few goals, little training. Shows that everything runs, not who wins."""
    seed: int = 0
    """Root of all randomness of the run."""

    products: Path | None = None
    """Official product file (items_shuffle.json); without it a catalogue is generated."""
    attributes: Path | None = None
    """Official attribute file (items_ins_v2.json) that belongs to the product file."""
    human: Path | None = None
    """Official file of human instructions (items_human_ins.json); needed for human goals."""
    generated_products: int = Field(default=1000, ge=100)
    """Products in the generated catalogue."""
    goals: Literal["human", "synthetic"] = "human"
    """Which goals to shop for."""
    shop_seed: int = 42
    """Seed of the prices and goals, and of the generated catalogue."""
    step_limit: int = Field(default=15, ge=3)
    """Actions after which an episode ends."""

    training_goals: int = Field(default=2400, ge=8)
    """Goals of the training split to collect demonstrations for."""
    validation_goals: int = Field(default=200, ge=4)
    """Goals of the development split: for choosing the best epoch and for ablations, never for the final figures."""
    test_goals: int = Field(default=500, ge=4)
    """Held-out goals of the test split."""
    exploration: float = Field(default=0.15, ge=0, le=1)
    """Share of random clicks in training demonstrations, so that learners see the way back from mistakes."""

    encoder: str | None = None
    """Sentence-transformers model for events and chunks, an id or a path; without it the packaged MiniLM (384-d)."""
    state_model: StateModelConfig = StateModelConfig()
    """The recurrent state model."""
    next_action: NextActionTrainingConfig = NextActionTrainingConfig()
    """Its training."""

    @model_validator(mode="after")
    def _official_files_belong_together(self) -> Self:
        if self.products is None and (self.attributes or self.human):
            raise ValueError("--attributes and --human belong to a product file: give --products too")
        if self.products is not None and self.attributes is None:
            raise ValueError("--products needs the attribute file that belongs to it: give --attributes too")
        if self.products is not None and self.goals == "human" and self.human is None:
            raise ValueError("human goals need --human; without that file use --goals synthetic")
        return self


class Phase2Settings(Phase1Settings):
    """Does state-gated retrieval beat ReAct and query RAG in the shop? Trains everything and answers with intervals."""

    model: str | None = None
    """Causal language model that acts in place of the student: any Hugging Face id or path."""
    student: Literal["packaged", "train"] = "packaged"
    """The small language model that acts by default: the one shipped with the package, or one trained in this run."""
    student_training: StudentTrainingConfig = StudentTrainingConfig()
    """Training of the student."""
    student_data: StudentDataConfig = StudentDataConfig(ranked_share=0.75, target_share=0.5)
    """What the student's training prompts show: mostly what query RAG or the first trained gate would let through."""
    history_turns: int = Field(default=3, ge=0)
    """Earlier turns that the ReAct agent sees."""
    history_characters: int = Field(default=120, ge=0)
    """Characters kept of each earlier page in that history."""
    chunking: ChunkingConfig = ChunkingConfig()
    """How pages are cut into chunks."""
    query_from: Literal["state", "instruction", "both"] = "both"
    """What the retriever is conditioned on."""
    retriever_hidden: int | None = Field(default=None, ge=1)
    """Width of a hidden layer in the query projection; without it the projection is linear."""
    retriever_seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """One retriever is trained, and evaluated on all held-out goals, for each."""
    phase2: RetrieverTrainingConfig = RetrieverTrainingConfig(epochs=40)
    """Training of the retriever."""
    prices: TokenPrices | None = None
    """What the acting model's tokens cost, in dollars per million; the report then says what success costs."""
    ablations: bool = True
    """Also vary top_k, chunk cap, query, state model and actor, one at a time, on the development goals."""


SMOKE: Mapping[str, Any] = {
    "training_goals": 60,
    "validation_goals": 12,
    "test_goals": 12,
    "next_action": {"epochs": 2},
}
SMOKE_PHASE2: Mapping[str, Any] = {**SMOKE, "retriever_seeds": (0, 1), "phase2": {"epochs": 2}}

Settings = TypeVar("Settings", bound=Phase1Settings)


def parse_settings(settings_type: type[Settings], smoke: Mapping[str, Any], arguments: Sequence[str]) -> Settings:
    """Settings from defaults, then `--smoke`, then the `--config` file, then the other flags.

    Args:
        settings_type: which experiment.
        smoke: what `--smoke` sets.
        arguments: the command line without the program's name.
    """
    given: dict[str, Any] = {}
    if "--smoke" in arguments:
        given = {"smoke": True, "name": "smoke", **smoke}
    file = _flag_value(arguments, "--config")
    if file is not None:
        given |= _read_yaml(Path(file)) | {"config": Path(file)}
    try:
        default = settings_type.model_validate(given)
    except ValidationError as error:
        sys.exit(f"{file}: {error}")
    return tyro.cli(settings_type, args=list(arguments), default=default)


def _flag_value(arguments: Sequence[str], flag: str) -> str | None:
    for position, argument in enumerate(arguments):
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        sys.exit(f"--config {path}: there is no such file")
    except yaml.YAMLError as error:
        sys.exit(f"--config {path}: not YAML: {error}")
    if not isinstance(content, dict):
        sys.exit(f"--config {path}: expected a mapping of settings, found {type(content).__name__}")
    return content
