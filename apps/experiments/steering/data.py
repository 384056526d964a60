"""The data sets of the experiment, embedded once and kept with the run, and how its test questions are steered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.steering.settings import DataName, SteeringSettings
from experiments.steering.shop_texts import shop_texts
from experiments.steering.stages import Stage
from lab.encoder import open_encoder
from lab.run import RunDirectory
from sightline.jepa import Steering, SteeringDataset, build_dataset, load_documentation, steering
from sightline.jepa.data import (
    Ids,
    Split,
    SteeringTexts,
    changed_categories,
    hold_out_fold,
    load_docstrings,
    pair_components,
    read_dataset,
    write_dataset,
)
from sightline.retrieval import CachedEncoder

logger = logging.getLogger(__name__)

MODES = ("none", "category", "keywords", "unreliable")
"""How questions are steered: not at all; by their category; by keywords; by categories some of which are wrong."""
FILTERED = {"filter, category": "category", "filter, unreliable": "unreliable"}
"""Modes with a hard filter by the category given as well, and what steers there."""


@dataclass(frozen=True)
class Asked:
    """Questions of one split under one mode."""

    steering: Steering
    """Steering of each."""
    categories: Ids
    """`[q]` the category given with each, -1 for none."""


@dataclass(frozen=True)
class Data:
    """One data set of the run."""

    name: DataName
    """Name of the data set."""
    dataset: SteeringDataset
    """The data."""
    seed: int
    """Seed of what is changed in unreliable steering."""
    unreliable_share: float
    """Share of questions for which it is."""
    fold: int | None = None
    """Number of the fold of the training questions that is held out as the test part; None where none is."""

    @property
    def label(self) -> str:
        """Name of this data in stages."""
        return self.name if self.fold is None else f"{self.name}-fold{self.fold}"

    def without_fold(self, fold: int, folds: int) -> Data:
        """Return the same with one of several folds of the training questions held out as the test part."""
        return replace(self, dataset=hold_out_fold(self.dataset, fold, folds, seed=self.seed), fold=fold)

    def ask(self, split: Split, mode: str) -> Asked:
        """Return the questions of a split as a mode steers them.

        Raises:
            KeyError: there is no such mode.
        """
        ids = self.dataset.queries(split)
        if mode == "unreliable":
            categories = self._unreliable(ids)
            return Asked(steering(self.dataset, ids, "category", categories), categories)
        kind = {"none": "none", "category": "category", "keywords": "keywords"}[mode]
        own = np.array(self.dataset.question_category[ids])
        categories = own if kind == "category" else np.full_like(own, -1)
        return Asked(steering(self.dataset, ids, kind), categories)

    def groups(self, ids: Ids) -> Ids:
        """Return `[q]`, the component of each of these questions: questions of one depend on each other."""
        return self._components[np.searchsorted(self._paired, ids)]

    @cached_property
    def is_oracle(self) -> bool:
        """Whether every question's category is that of its answers, which nobody who asks could always know."""
        questions, sources = self.dataset.pairs.T
        return bool((self.dataset.question_category[questions] == self.dataset.source_category[sources]).all())

    def label_of(self, mode: str) -> str:
        """Return what a mode is called where it is shown: steering that is made from the answer says that it is."""
        return f"{mode} (oracle)" if mode == "category" and self.is_oracle else mode

    @cached_property
    def counterfactual(self) -> np.ndarray:
        """`[q]` bool, test questions whose words are asked under several categories."""
        texts = self.dataset.question_text_ids
        shared = np.bincount(texts, minlength=len(texts))[texts] > 1
        return shared[self.dataset.queries("test")]

    @cached_property
    def _paired(self) -> Ids:
        return np.unique(self.dataset.pairs[:, 0])

    @cached_property
    def _components(self) -> Ids:
        """The component of every question that has a pair."""
        data = self.dataset
        of_pairs = pair_components(data.pairs, data.question_text_ids, data.source_text_ids)
        return of_pairs[np.unique(data.pairs[:, 0], return_index=True)[1]]

    def _unreliable(self, ids: Ids) -> Ids:
        """Return the categories of questions with a share of them replaced by others, and half of these taken away."""
        own = self.dataset.question_category[ids]
        wrong = changed_categories(self.dataset, ids, share=self.unreliable_share, change="random", seed=self.seed)
        missing = (wrong != own) & (np.random.default_rng([self.seed, 1]).random(len(ids)) < 0.5)
        return np.where(missing, -1, wrong)


def build_data_stage(settings: SteeringSettings, run: RunDirectory, name: DataName) -> Data:
    """Return a data set, built and embedded."""

    def compute(folder: Path) -> None:
        encoder = open_encoder(settings, run)

        built = build_dataset(
            load_texts(settings, name),
            partial(embed_in_parts, encoder, name=name),
            encoder=encoder.name,
            seed=settings.seed,
        )
        write_dataset(folder / "dataset", built)

    folder = run.stage(Stage.DATA, compute, name)
    return Data(name, read_dataset(folder / "dataset"), settings.seed, settings.unreliable_share)


def embed_in_parts(encoder: CachedEncoder, texts: Sequence[str], name: str) -> NDArray[np.float32]:
    """Embed texts, with what is done on the disk every now and then.

    Args:
        encoder: encoder to ask.
        texts: n texts.
        name: what they are called in the log.

    Returns:
        `[n, D]` float32.
    """
    by_length = sorted(texts, key=len)  # texts of one length waste no time on padding
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        encoder.encode(by_length[start : start + _TEXTS_AT_ONCE])
        encoder.save()
        logger.info("%s: %d of %d texts embedded", name, min(start + _TEXTS_AT_ONCE, len(texts)), len(texts))
    return encoder.encode(texts)


_TEXTS_AT_ONCE = 512
"""Texts after which embeddings are written to disk, so that a killed run loses a minute of them at most."""


def load_texts(settings: SteeringSettings, name: DataName) -> SteeringTexts:
    """Return what a data set says."""
    if name == "shop":
        return shop_texts(
            products=settings.generated_products,
            instructions=settings.instructions_per_product,
            seed=settings.shop_seed,
        )
    if name == "docstrings":
        return load_docstrings(min_pairs=settings.docstring_pairs, max_characters=settings.documentation_characters)
    texts = load_documentation(max_characters=settings.documentation_characters)
    return texts if settings.documentation_sources is None else some_services(texts, settings.documentation_sources)


def some_services(texts: SteeringTexts, most_sources: int) -> SteeringTexts:
    """Return the services with the most questions per source, as many as have at most `most_sources` together."""
    count = len(texts.names)
    sizes = np.bincount(texts.source_category, minlength=count)
    asked = np.bincount(texts.question_category, minlength=count)
    order = np.argsort(-asked / np.maximum(sizes, 1), kind="stable")
    kept: list[int] = []
    total = 0
    for service in order:
        if asked[service] and total + sizes[service] <= most_sources:
            kept.append(int(service))
            total += int(sizes[service])
    kept.sort()
    question_ids = np.flatnonzero(np.isin(texts.question_category, kept))
    source_ids = np.flatnonzero(np.isin(texts.source_category, kept))
    pairs = texts.pairs[np.isin(texts.pairs[:, 0], question_ids)]
    return SteeringTexts(
        questions=tuple(texts.questions[row] for row in question_ids),
        sources=tuple(texts.sources[row] for row in source_ids),
        pairs=np.stack([np.searchsorted(question_ids, pairs[:, 0]), np.searchsorted(source_ids, pairs[:, 1])], axis=1),
        question_category=np.searchsorted(kept, texts.question_category[question_ids]),
        source_category=np.searchsorted(kept, texts.source_category[source_ids]),
        names=tuple(texts.names[service] for service in kept),
        descriptions=tuple(texts.descriptions[service] for service in kept),
        keywords=tuple(texts.keywords[row] for row in question_ids),
    )
