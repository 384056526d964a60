"""The settings of the experiments in the shop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from lab.settings import EncoderSettings, EngineSettings
from sightline.agents.chat import TokenPrices
from sightline.agents.state import NextActionTrainingConfig, StateModelConfig
from sightline.agents.student import AdapterTrainingConfig, StudentDataConfig, StudentTrainingConfig
from sightline.retrieval import ChunkingConfig, RetrieverTrainingConfig

Labels: TypeAlias = Literal["both", "clicks", "needed"]
"""What gates learn to show: what best actions act on, what else the actor needs to do what is best, or both."""
Pages: TypeAlias = Literal["short", "long", "control"]
"""What pages are like, and which held-out goals are shopped for."""


class Phase1Settings(EncoderSettings, EngineSettings):
    """Collect demonstrations in the shop and train a recurrent state model to predict the next action's type."""

    SMOKE: ClassVar[Mapping[str, Any]] = {
        "training_goals": 60,
        "validation_goals": 12,
        "test_goals": 12,
        "next_action": {"epochs": 2},
    }

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
    pages: Pages = "short"
    """What pages are like, and which held-out goals are shopped for. "long": 50 hits on a results page; description,
    features, 20 reviews and up to 200 option values on item pages, where asked attributes stand that no title names.
    "control": short pages, and only goals at which choosing chunks well cannot help, since all that is needed shares
    words with the instruction and nothing must be remembered. There a tie is to be expected."""
    shop_seed: int = 42
    """Seed of the prices and goals, and of the generated catalogue."""
    step_limit: int = Field(default=15, ge=3)
    """Actions after which an episode ends."""

    training_goals: int = Field(default=2400, ge=8)
    """Goals of the training split to collect demonstrations for."""
    validation_goals: int = Field(default=200, ge=4)
    """Last goals of all: for choosing the best epoch and for ablations, never for the final figures."""
    test_goals: int = Field(default=500, ge=4)
    """Held-out goals of the test split."""
    exploration: float = Field(default=0.15, ge=0, le=1)
    """Share of random clicks in training demonstrations, so that learners see the way back from mistakes."""

    state_model: StateModelConfig = StateModelConfig()
    """The recurrent state model."""
    next_action: NextActionTrainingConfig = NextActionTrainingConfig()
    """Its training."""

    @model_validator(mode="after")
    def _long_pages_are_made_up(self) -> Self:
        if self.pages == "long" and (self.products is not None or self.goals == "synthetic"):
            raise ValueError(
                "--pages long are made up, with human goals: give neither --products nor --goals synthetic"
            )
        return self

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

    SMOKE: ClassVar[Mapping[str, Any]] = {
        **Phase1Settings.SMOKE,
        "study": "alone",
        "retriever_seeds": (0, 1),
        "own_pages_goals": 8,
        "phase2": {"epochs": 2, "train_query_proj_only": False},
    }
    INCIDENTAL: ClassVar[frozenset[str]] = Phase1Settings.INCIDENTAL | {"prices"}

    study: Literal["alone", "default", "full"] = "default"
    """What follows on the agents' training: nothing; the control and the packaged student as actor, on fresh goals; or
    short, control and long pages with every k and budget, attacks and a second training. Fresh goals are those of a
    catalogue with a seed of its own. Only short pages have a study, and only a rule as actor."""
    fresh_shop_seed: int = 7001
    """Seed of the fresh goals' catalogue, prices and goals."""
    fresh_goals: int = Field(default=1000, ge=2)
    """Fresh goals of a study; the control may have fewer that fit."""
    student_goals: int = Field(default=200, ge=2)
    """The first of them, which the packaged student attempts in a study."""
    actor: Literal["rule", "lexical", "student"] = "rule"
    """Who acts on what is let through: the shop's rule, word overlap, or a language model. A model, or a student to
    train, that is asked for acts in any case."""
    model: str | None = None
    """Causal language model that acts in place of the student: a Hugging Face id, a folder or a GGUF file; with
    `--base-url` the name of a model there."""
    base_url: str | None = None
    """Address of a server with the OpenAI interface, for example http://localhost:8000/v1, whose model acts. Its key is
    taken from the environment variable OPENAI_API_KEY."""
    student: Literal["packaged", "train", "lora"] = "packaged"
    """The small language model that acts by default: the one shipped with the package, or one trained in this run;
    "lora" trains an adapter for `--model` on the same labels."""
    adapter_training: AdapterTrainingConfig = AdapterTrainingConfig()
    """Training of the adapter."""
    student_training: StudentTrainingConfig = StudentTrainingConfig()
    """Training of the student."""
    student_data: StudentDataConfig = StudentDataConfig(history="memory", ranked_share=0.75, target_share=0.5, views=2)
    """What the student's training prompts show: whole pages, what query RAG would let through, and chunks at random."""
    value_temperature: float = Field(default=0.0001, gt=0)
    """Softness of what the student learns, in units of reward; a step is worth 0.001."""
    history: Literal["memory", "turns", "none"] = "memory"
    """What all agents see of the episode so far: what is worth remembering of it, or (the full page) earlier turns."""
    history_turns: int = Field(default=3, ge=0)
    """Earlier turns that the ReAct agent sees with `--history turns`."""
    history_characters: int = Field(default=120, ge=0)
    """Characters kept of each earlier page in that history."""
    chunking: ChunkingConfig = ChunkingConfig()
    """How pages are cut into chunks."""
    top_k: int | None = Field(default=3, ge=1)
    """Most chunks that RAG and the gates let through; None for as many as the budget pays for."""
    budget: int | None = Field(default=None, ge=1)
    """Tokens that those chunks may cost together; None for no such limit."""
    by_rank: bool = True
    """Show chunks in the order of their rank; otherwise in that of the page."""
    gate_candidates: bool = True
    """Offer RAG's and the gates' actors only actions whose chunk is shown, and navigation."""
    query_from: Literal["state", "instruction", "both"] = "both"
    """What the retriever is conditioned on."""
    retriever_hidden: int | None = Field(default=None, ge=1)
    """Width of a hidden layer in the query projection; without it the projection is linear."""
    retriever_seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """One retriever is trained, and evaluated on all held-out goals, for each."""
    label_navigation: bool = False
    """Also train gates to show buttons such as Buy Now, which can be clicked whether they are shown or not."""
    labels: Labels = "both"
    """What the gates learn to show: what best actions act on, what else the acting rule must have read to do what is
    best (found by leaving chunks out), or both. Of a language model, which is slow to ask, only clicks are taken."""
    page_width: int | None = Field(default=64, ge=4, multiple_of=4)
    """Width of the trained gates' attention over the chunks of a page; without it every chunk is judged alone."""
    own_pages_rounds: int = Field(default=1, ge=0)
    """Rounds in which the gate is trained further on pages that its agent came to (DAgger, Ross et al. 2011)."""
    own_pages_goals: int = Field(default=400, ge=1)
    """Training goals that the agent attempts in each of these rounds."""
    retriever_training: RetrieverTrainingConfig = Field(
        default=RetrieverTrainingConfig(epochs=12, train_query_proj_only=False), alias="phase2"
    )
    """Training of the retriever; `phase2` in a YAML file."""
    prices: TokenPrices | None = None
    """What the acting model's tokens cost, in dollars per million; the report then says what success costs."""
    injections: float = Field(default=0, ge=0, le=1)
    """Share of the products whose texts try to command their readers, in a shop of its own: ReAct, query RAG and the
    trained gate attempt the held-out goals there once more. Without it there is no such shop."""
    ablations: bool = True
    """Also vary how much is read and how, what the gate is and learns from, and the actor, on development goals."""

    @property
    def has_study(self) -> bool:
        """Whether anything follows on the agents' training."""
        made_up = self.products is None and self.goals == "human" and self.pages == "short"
        return (
            self.study != "alone"
            and made_up
            and self.actor == "rule"
            and (self.model, self.student) == (None, "packaged")
        )

    @model_validator(mode="after")
    def _something_is_read(self) -> Self:
        if self.top_k is None and self.budget is None:
            raise ValueError("give --top-k, --budget or both: one of them must say how much RAG and the gates read")
        return self

    @model_validator(mode="after")
    def _long_pages_fit_the_actor(self) -> Self:
        if self.pages == "long" and self.actor == "student" and self.model is None:
            raise ValueError(
                "--pages long do not fit into the packaged student's context: use --actor rule, or --model"
            )
        return self

    @model_validator(mode="after")
    def _models_belong_together(self) -> Self:
        if self.base_url is not None and self.model is None:
            raise ValueError("--base-url needs the name of a model there: give --model too")
        if self.student == "lora" and (self.model is None or self.base_url is not None):
            raise ValueError(
                "--student lora trains an adapter for a model on this machine: give --model, no --base-url"
            )
        if self.student == "train" and self.model is not None:
            raise ValueError("--student train makes the model that acts: give no --model, or --student lora")
        return self


class PretrainedSettings(Phase2Settings):
    """Can a pretrained language model shop, before and after it has learnt an expert's labels?"""

    SMOKE: ClassVar[Mapping[str, Any]] = {
        "training_goals": 12,
        "test_goals": 8,
        "control_goals": 4,
        "adapter_training": {"steps": 4},
    }

    model: str | None = "HuggingFaceTB/SmolLM2-135M-Instruct"
    """Causal language model: a Hugging Face id, a folder or a GGUF file."""
    student: Literal["packaged", "train", "lora"] = "lora"
    """Whether an adapter is trained ("lora") or the model acts as it is ("packaged")."""
    student_data: StudentDataConfig = StudentDataConfig(
        history="none", views=1, full_page_share=0, max_chunks=5, ranked_share=0.75, target_share=0.5
    )
    """What the adapter's training prompts show: a few chunks of the page, as query RAG shows them."""
    history: Literal["memory", "turns", "none"] = "none"
    """What the agents see of the episode so far."""
    training_goals: int = Field(default=160, ge=8)
    """Goals of the training split to collect demonstrations for."""
    test_goals: int = Field(default=100, ge=4)
    """Held-out goals of the test split."""
    control_goals: int = Field(default=30, ge=2)
    """The first of them, which the model attempts as it is; it seldom ends before the step limit."""
