"""The retrievers, conditioned on the recurrent state, that decide which chunks a gated agent reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from experiments.shopping.settings import Labels, Phase2Settings
from experiments.shopping.stages import Stage
from lab.engine import AnyEngine, map_splits
from lab.run import RunDirectory, write_metrics
from sightline.agents import Trajectory, state_conditioned
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import (
    ChunkLabel,
    ChunkScorer,
    QueryFrom,
    condition_dimension,
    example_situation,
    retrieval_examples,
    situation_conditions,
)
from sightline.agents.rollout import InProcessEngine
from sightline.agents.state import RecurrentStateModel
from sightline.retrieval import (
    CachedEncoder,
    ChunkingConfig,
    RetrieverTrainingConfig,
    StateConditionedRetriever,
    train_retriever,
)
from sightline.retrieval.conditioned import (
    ConditionFunction,
    RetrievalExample,
    embed_examples,
    read_examples,
    write_examples,
)

_SITUATIONS_AT_ONCE = 256
_EPISODES_AT_ONCE = 200


@dataclass(frozen=True)
class RetrieverRecipe:
    """How a state-conditioned retriever is made; ablations change one field."""

    query_from: QueryFrom
    """What it is conditioned on."""
    hidden: int | None
    """Width of a hidden layer in the query projection, or None."""
    page_width: int | None
    """Width of the attention over the chunks of a page, or None."""
    chunking: ChunkingConfig
    """How pages are cut."""
    training: RetrieverTrainingConfig
    """The seed's `phase2` settings."""
    navigation: bool = False
    """Whether chunks with buttons that lead on are right where these are to be clicked."""
    labels: Labels = "both"
    """Whether chunks are right that hold what best actions act on, that the actor needs otherwise, or both."""

    @classmethod
    def of(cls, settings: Phase2Settings) -> RetrieverRecipe:
        """Return the recipe that the settings ask for."""
        return cls(
            settings.query_from,
            settings.retriever_hidden,
            settings.page_width,
            settings.chunking,
            settings.retriever_training,
            settings.label_navigation,
            settings.labels,
        )


@dataclass(frozen=True)
class Gate:
    """The two models that decide what a state-gated agent reads."""

    state_model: RecurrentStateModel
    retriever: StateConditionedRetriever

    def scorer(self, recipe: RetrieverRecipe, encoder: CachedEncoder) -> ChunkScorer:
        """Return what scores the chunks of a page."""
        return state_conditioned(encoder, self.state_model, self.retriever, recipe.query_from)


def untrained_gate(recipe: RetrieverRecipe, model: RecurrentStateModel, encoder: CachedEncoder, seed: int) -> Gate:
    """Return a gate whose retriever has its initial weights."""
    width = condition_dimension(recipe.query_from, model.config.state_dimension, encoder.dimension)
    retriever = StateConditionedRetriever(
        width,
        encoder.dimension,
        hidden_dim=recipe.hidden,
        page_width=recipe.page_width,
        seed=seed,
        text_encoder=encoder.name,
    )
    return Gate(model, retriever)


@dataclass(frozen=True)
class Gates:
    """Trains gates and keeps them in a run."""

    run: RunDirectory
    """Run that they are kept in."""
    demonstrations: Mapping[str, Sequence[Trajectory]]
    """Expert episodes by split."""
    model_folder: Path
    """Folder of the state model to start from; it is frozen unless a recipe says otherwise."""
    encoder: CachedEncoder
    """Encoder of events and chunks."""
    engine: AnyEngine = InProcessEngine()  # noqa: RUF009  (frozen)
    """What labels examples, and plays the episodes of those who use the gates."""
    needed: ChunkLabel | None = None
    """What the actor must have read; None for one that is not asked."""

    def label_examples_stage(self, recipe: RetrieverRecipe) -> dict[str, list[RetrievalExample]]:
        """Return retrieval examples of every split, labelled by what best actions act on."""
        chunking = recipe.chunking

        def compute(folder: Path) -> None:
            needed = self.needed  # workers are sent this, and not the trainer with all of its episodes

            def label(part: tuple[str, Sequence[Trajectory]]) -> list[RetrievalExample]:
                return _label(recipe, needed, part[1])

            for split, examples in map_splits(self.engine, label, self.demonstrations, _EPISODES_AT_ONCE):
                write_examples(folder / f"{split}.jsonl", examples)

        folder = self.run.stage(
            Stage.EXAMPLES,
            compute,
            f"{chunking.max_characters}-{chunking.min_characters}-{recipe.labels}"
            f"{'-navigation' if recipe.navigation else ''}",
        )
        return {split: list(read_examples(folder / f"{split}.jsonl")) for split in self.demonstrations}

    def label(self, recipe: RetrieverRecipe, episodes: Sequence[Trajectory]) -> list[RetrievalExample]:
        """Return the retrieval examples of episodes."""
        return _label(recipe, self.needed, episodes)

    def joined_pages(
        self, recipe: RetrieverRecipe, own_pages: Sequence[Trajectory]
    ) -> tuple[list[RetrievalExample], int]:
        """Return examples to train on, an agent's own pages last, then those to validate on; and where these begin."""
        pages = self.label_examples_stage(recipe)
        training = [*pages["train"], *self.label(recipe, own_pages)]
        return [*training, *pages["dev"]], len(training)

    def train_stage(self, name: str, recipe: RetrieverRecipe, seed: int, own_pages: Sequence[Trajectory] = ()) -> Gate:
        """Return a gate trained on the "train" pages, its best epoch chosen on the "dev" pages.

        Args:
            name: variant of the stage.
            recipe: how it is made.
            seed: seed of the initial weights and of training.
            own_pages: episodes of agents on training goals, whose pages are learnt from as well.
        """

        def compute(folder: Path) -> None:
            joined, border = self.joined_pages(recipe, own_pages)
            gate = untrained_gate(recipe, RecurrentStateModel.from_pretrained(self.model_folder), self.encoder, seed)
            config = recipe.training.model_copy(update={"seed": seed})
            extra = () if config.freeze_state_model else list(gate.state_model.parameters())
            result = train_retriever(
                gate.retriever,
                embed_examples(joined, self.encoder),
                condition_fn=page_conditions(
                    joined, gate.state_model, recipe.query_from, self.encoder, frozen=not extra
                ),
                training=range(border),
                validation=range(border, len(joined)),
                config=config,
                extra_parameters=extra,
            )
            gate.retriever.save_pretrained(folder / "retriever", training=result)
            gate.state_model.save_pretrained(folder / "state-model")
            write_metrics(folder, [asdict(epoch) for epoch in result.history])
            self.encoder.save()

        folder = self.run.stage(Stage.RETRIEVER, compute, name)
        return Gate(
            RecurrentStateModel.from_pretrained(folder / "state-model"),
            StateConditionedRetriever.from_pretrained(folder / "retriever"),
        )


def _label(
    recipe: RetrieverRecipe, needed: ChunkLabel | None, episodes: Sequence[Trajectory]
) -> list[RetrievalExample]:
    return retrieval_examples(
        episodes,
        webshop_grammar,
        recipe.chunking,
        navigation=recipe.navigation,
        needed=None if recipe.labels == "clicks" else needed,
        targets=recipe.labels != "needed" or needed is None,
    )


def page_conditions(
    pages: Sequence[RetrievalExample],
    model: RecurrentStateModel,
    query_from: QueryFrom,
    encoder: CachedEncoder,
    *,
    frozen: bool,
) -> ConditionFunction:
    """Return condition vectors by position: from a table for a frozen state model, else anew, with gradients.

    Args:
        pages: labelled pages.
        model: recurrent state model.
        query_from: what the vectors are made of.
        encoder: encoder of events and instructions.
        frozen: whether the state model is.
    """
    situations = [example_situation(page) for page in pages]

    def conditions(positions: Sequence[int]) -> torch.Tensor:
        return situation_conditions([situations[i] for i in positions], encoder, model, query_from)

    if not frozen:
        return conditions
    with torch.no_grad():
        starts = range(0, len(pages), _SITUATIONS_AT_ONCE)
        table = torch.cat([conditions(range(len(pages))[start : start + _SITUATIONS_AT_ONCE]) for start in starts])
    return lambda positions: table[list(positions)]
