"""The filter-aware scorer of `sightline.jepa` as a gate: the instruction is its question, the recurrent state steers.

It stands on equal terms with the page-aware gate: the same labelled pages, the same agent's own pages among them, the
same seeds, epochs and batches, and the best epoch by the same development pages. It judges every chunk alone, and knows
the kind of each, which the page's markup tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from experiments.shopping.gates.page_aware import Gates, RetrieverRecipe, page_conditions
from experiments.shopping.stages import Stage
from lab.run import write_metrics
from sightline.agents import Trajectory
from sightline.agents.grammar import ShopAction, webshop_grammar
from sightline.agents.reading import ChunkScorer, situation_conditions
from sightline.agents.records import Situation
from sightline.agents.state import RecurrentStateModel
from sightline.jepa import JEPAConfig, JEPAModel
from sightline.jepa.data import CandidateExamples
from sightline.jepa.training import train_on_candidates
from sightline.retrieval import CachedEncoder
from sightline.retrieval.conditioned import RetrievalExample, embed_examples

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ChunkKind(StrEnum):
    """What a chunk of a page of the shop is."""

    PRODUCT = "product"
    OPENED_PRODUCT = "opened product"
    OPTIONS = "options"
    CHOSEN_OPTIONS = "chosen options"
    BUTTONS = "buttons"
    FACTS = "facts"
    TEXT = "text"


DESCRIPTIONS: Final[Mapping[ChunkKind, str]] = {
    ChunkKind.PRODUCT: "a product among the search results, with its title and price",
    ChunkKind.OPENED_PRODUCT: "a product among the search results that was opened before",
    ChunkKind.OPTIONS: "options of a product to choose from, such as its color or size",
    ChunkKind.CHOSEN_OPTIONS: "options of a product, one of which is chosen already",
    ChunkKind.BUTTONS: "buttons that lead to another page or buy the product",
    ChunkKind.FACTS: "the title, price and rating of the product on this page",
    ChunkKind.TEXT: "a description, features or reviews of a product",
}
"""What each kind is, in words; embedded, they are the scorer's categories."""
_KINDS: Final = tuple(DESCRIPTIONS)
_LABEL = re.compile(r"\[(?:clicked )?button\] (.*?) \[(?:clicked )?button_\]")
_PRICE = re.compile(r"^Price: ", re.MULTILINE)


def chunk_kind(chunk: str) -> ChunkKind:
    """Return what a chunk is, told from the buttons in it."""
    clicks = {webshop_grammar.action_type(f"click[{label}]") for label in _LABEL.findall(chunk)}
    clicked = "[clicked button]" in chunk
    if ShopAction.CLICK_PRODUCT in clicks:
        return ChunkKind.OPENED_PRODUCT if clicked else ChunkKind.PRODUCT
    if ShopAction.CLICK_OPTION in clicks:
        return ChunkKind.CHOSEN_OPTIONS if clicked else ChunkKind.OPTIONS
    if clicks:
        return ChunkKind.BUTTONS
    return ChunkKind.FACTS if _PRICE.search(chunk) else ChunkKind.TEXT


@dataclass(frozen=True)
class SteeredGate:
    """The two models that decide what a gated agent reads."""

    state_model: RecurrentStateModel
    model: JEPAModel

    def scorer(self, encoder: CachedEncoder) -> ChunkScorer:
        """Return what scores the chunks of a page.

        Raises:
            ValueError: the scorer was trained with another encoder.
        """
        if encoder.name != self.model.encoder:
            raise ValueError(f"the gate was trained with encoder {self.model.encoder!r}, not {encoder.name!r}")
        self.state_model.eval()

        @torch.inference_mode()
        def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
            counts, texts = [len(page) for page in chunks], [chunk for page in chunks for chunk in page]
            embeddings, kinds = torch.tensor(encoder.encode(texts)), torch.from_numpy(_kind_numbers(texts))
            states = situation_conditions(situations, encoder, self.state_model, "state")
            scores = self.model.score(
                torch.tensor(encoder.encode([situation.instruction for situation in situations])),
                states,
                states.norm(dim=1) > 0,
                pad_sequence(embeddings.split(counts), batch_first=True),
                pad_sequence(kinds.split(counts), batch_first=True),
                mask=torch.arange(max(counts)) < torch.tensor(counts)[:, None],
            )
            rows = scores.double().cpu().numpy()
            return [row[:count] for row, count in zip(rows, counts, strict=True)]

        return score


def train_steered_stage(
    gates: Gates, name: str, recipe: RetrieverRecipe, seed: int, own_pages: Sequence[Trajectory] = ()
) -> SteeredGate:
    """Return a steered gate trained on the "train" pages, its best epoch chosen on the "dev" pages.

    Args:
        gates: what the page-aware gates are trained from; the state model stays as it is.
        name: variant of the stage.
        recipe: how pages are cut and labelled, and how long gates are trained.
        seed: seed of the initial weights and of training.
        own_pages: episodes of agents on training goals, whose pages are learnt from as well.
    """

    def compute(folder: Path) -> None:
        joined, border = gates.joined_pages(recipe, own_pages)
        examples = candidate_examples(joined, RecurrentStateModel.from_pretrained(gates.model_folder), gates.encoder)
        result = train_on_candidates(
            steered_config(recipe, examples, seed),
            examples,
            training=range(border),
            validation=range(border, len(joined)),
        )
        result.model.save_pretrained(folder / "scorer")
        write_metrics(folder, [asdict(epoch) for epoch in result.history])
        gates.encoder.save()

    folder = gates.run.stage(Stage.RETRIEVER, compute, name)
    return SteeredGate(
        RecurrentStateModel.from_pretrained(gates.model_folder), JEPAModel.from_pretrained(folder / "scorer")
    )


def steered_config(recipe: RetrieverRecipe, examples: CandidateExamples, seed: int) -> JEPAConfig:
    """Return the scorer's configuration: what gates have in common as the recipe says, all else as the package says."""
    told = recipe.training
    return JEPAConfig.model_validate(
        {
            "predictor": {"dimension": examples.questions.shape[1]},
            "scorer": {"steering_dimension": examples.steering.shape[1], "residual": "auto"},
            "loss": {"temperature": told.temperature},
            "training": {
                "epochs": told.epochs,
                "batch_size": told.batch_size,
                "learning_rate": told.learning_rate,
                "weight_decay": told.weight_decay,
                "warmup_epochs": min(2, told.epochs),
                "patience": told.epochs,
                "seed": seed,
            },
        }
    )


def candidate_examples(
    pages: Sequence[RetrievalExample], state_model: RecurrentStateModel, encoder: CachedEncoder
) -> CandidateExamples:
    """Return labelled pages as the scorer learns from them."""
    embedded = embed_examples(pages, encoder)
    kinds = np.zeros(len(embedded.embeddings), dtype=np.int64)
    for page, rows in zip(pages, embedded.candidates, strict=True):
        kinds[rows] = _kind_numbers([page.chunks[at] for at in sorted((*page.pos_idx, *page.neg_idx))])
    states = page_conditions(pages, state_model, "state", encoder, frozen=True)(range(len(pages))).numpy()
    return CandidateExamples(
        questions=encoder.encode([page.instruction for page in pages]),
        steering=states,
        has_steering=np.linalg.norm(states, axis=1) > 0,
        sources=embedded.embeddings,
        source_category=kinds,
        candidates=embedded.candidates,
        positives=embedded.positives,
        names=_KINDS,
        descriptions=encoder.encode(list(DESCRIPTIONS.values())),
        encoder=encoder.name,
    )


def _kind_numbers(chunks: Sequence[str]) -> NDArray[np.int64]:
    return np.array([_KINDS.index(chunk_kind(chunk)) for chunk in chunks], dtype=np.int64)
