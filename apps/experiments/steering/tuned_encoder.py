"""The encoder itself, tuned by LoRA on the training pairs of a data set.

All other methods leave the encoder as it is. These show how much of a gap that leaves. Steering comes on top, as a soft
filter and by BM25, or as a predictor that is trained on tuned vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments.steering.data import MODES, Data, embed_in_parts, load_texts
from experiments.steering.settings import SteeringSettings
from experiments.steering.stages import Stage
from lab.encoder import open_model
from lab.run import RunDirectory, write_metrics
from sightline.jepa import SteeringDataset, build_dataset, fit_adapter
from sightline.jepa.baselines import fit_cosine, softly_filtered
from sightline.jepa.data import read_dataset, write_dataset
from sightline.jepa.ranking import LexicalIndex, Method, with_bm25
from sightline.jepa.tuning import tune_encoder
from sightline.retrieval import CachedEncoder, SentenceTransformerEncoder

TUNED: Final = "tuned encoder"
TUNED_ADAPTER: Final = f"{TUNED}, adapter"
SOFT, WITH_BM25 = ", soft filter", " with BM25"
"""What a name ends with that says what is added."""
TUNED_METHODS: Final = (TUNED, TUNED + SOFT, TUNED + SOFT + WITH_BM25, TUNED_ADAPTER + SOFT + WITH_BM25)
"""The rows: the cosine of tuned vectors alone, with a soft filter by the category, with BM25 as well, and all of it
behind a linear adapter, as the frozen vectors have one."""


_Row: TypeAlias = dict[str, NDArray[np.float64]]
"""Scores of one method with one seed: "mode/metric" of test questions, "validation/mode" of the validation's."""


def tuned_methods(settings: SteeringSettings) -> tuple[str, ...]:
    """Return the names of the rows that a run has."""
    return TUNED_METHODS if settings.tuning.epochs else ()


def tuned_method(
    settings: SteeringSettings,
    run: RunDirectory,
    data: Data,
    name: str,
    seed: int,
    words: Callable[[], LexicalIndex],
) -> Method:
    """Return one of `TUNED_METHODS` on a data set, tuned and embedded in stages of its own.

    Args:
        settings: settings of the run.
        run: folder of the run.
        data: data set.
        name: name of the method.
        seed: seed of the tuning.
        words: function to the index of the sources' words, asked where BM25 is added.
    """

    def fit(base: str) -> Method:
        anew = tuned_data(settings, run, data, seed).dataset
        tuned = replace(data.dataset, questions=anew.questions, sources=anew.sources)
        if base == TUNED_ADAPTER:  # unsteered, so that no vector but those two parts' is read
            return fit_adapter(tuned, seed, kind="none", grid=settings.adapter_grid())
        return replace(fit_cosine(tuned, seed), name=TUNED)

    return with_additions(name, fit, data.dataset, words, settings.unreliable_share)


def with_additions(
    name: str,
    fit: Callable[[str], Method],
    dataset: SteeringDataset,
    words: Callable[[], LexicalIndex],
    unreliable_share: float,
) -> Method:
    """Return a method with what the end of its name says is added: a soft filter by the category, BM25, or both.

    Args:
        name: name of the method.
        fit: function from a name without these endings to its method.
        dataset: the data.
        words: function to the index of the sources' words, asked where BM25 is added.
        unreliable_share: share of wrong or missing categories in validation.
    """
    if name.endswith(WITH_BM25):
        base = with_additions(name.removesuffix(WITH_BM25), fit, dataset, words, unreliable_share)
        return with_bm25(base, words(), dataset, unreliable_share=unreliable_share)
    if name.endswith(SOFT):
        return softly_filtered(fit(name.removesuffix(SOFT)), dataset, unreliable_share=unreliable_share)
    return fit(name)


def tune_encoder_stage(settings: SteeringSettings, run: RunDirectory, data: Data, seed: int) -> Path:
    """Tune the encoder on a data set; a killed run goes on after its last checkpoint.

    Returns:
        The folder of its stage, with a sentence-transformers `model` and `metrics.jsonl` in it.
    """
    variant = f"{TUNED}-{data.label}-seed{seed}"

    def compute(folder: Path) -> None:
        model = open_model(settings)
        checkpoint = run.work_folder(Stage.TRAINING, variant) / "checkpoint.safetensors"
        losses = tune_encoder(model, data.dataset, settings.tuning, seed=seed, checkpoint=checkpoint)
        model.save(str(folder / "model"), create_model_card=False)
        parts = np.array_split(losses, settings.tuning.epochs)
        write_metrics(
            folder,
            [
                {"data": data.label, "method": TUNED, "seed": seed, "epoch": epoch, "loss": float(part.mean())}
                for epoch, part in enumerate(parts, 1)
            ],
        )

    return run.stage(Stage.TRAINING, compute, variant)


def tune_and_embed_stages(settings: SteeringSettings, run: RunDirectory, data: Data, seed: int) -> Path:
    """Tune the encoder and embed all texts anew; a killed run finds what it has embedded.

    Returns:
        The folder of the second stage, with the embedded `dataset` in it.
    """
    tuned = tune_encoder_stage(settings, run, data, seed)
    variant = f"{data.label} by the {TUNED}-seed{seed}"

    def compute(folder: Path) -> None:
        cache = run.work_folder(Stage.DATA, variant) / "embeddings.sqlite"
        encoder = CachedEncoder(SentenceTransformerEncoder(tuned / "model"), cache)
        encode = partial(embed_in_parts, encoder, name=f"{data.name} anew")
        texts = load_texts(settings, data.name)
        write_dataset(folder / "dataset", build_dataset(texts, encode, encoder=variant, seed=data.seed))

    return run.stage(Stage.DATA, compute, variant)


def tuned_data(settings: SteeringSettings, run: RunDirectory, data: Data, seed: int) -> Data:
    """Return a data set with all its vectors, those of steering as well, by the encoder that was tuned on it."""
    folder = tune_and_embed_stages(settings, run, data, seed)
    whole = replace(data, dataset=read_dataset(folder / "dataset"), fold=None)
    return whole if data.fold is None else whole.without_fold(data.fold, settings.tuning.folds)


def choose_encoders(untuned: Sequence[_Row], tuned: Sequence[_Row]) -> tuple[list[_Row], list[bool]]:
    """Return the better rows of a method on untuned and on tuned vectors, and whether each is the tuned one.

    Better is the higher MRR of validation questions, a mean over the kinds of steering; the untuned one, of equals.

    Args:
        untuned: scores of the method, one row for each seed.
        tuned: scores of it on tuned vectors, one row for each of the first seeds.
    """
    pairs = list(zip(untuned, tuned, strict=False))
    means = [[float(np.mean([row[f"validation/{mode}"] for mode in MODES])) for row in pair] for pair in pairs]
    better = [of_tuned > of_untuned for of_untuned, of_tuned in means]
    return [pair[is_tuned] for pair, is_tuned in zip(pairs, better, strict=True)], better
