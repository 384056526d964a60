"""The encoder itself, tuned by LoRA: questions and their sources are drawn together, wrong pairs of a batch apart.

All other methods leave the encoder as it is. This one shows how much of a gap that leaves. Its objective is the
multiple negatives ranking loss of sentence-transformers in both directions (InfoNCE), with low-rank adapters merged
into the weights at the end. Only pairs for training are read: texts of validation and test are neither right nor wrong
answers. Steering comes on top, as a soft filter and by BM25, as for other methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.steering.data import Data, embed_in_parts
from experiments.steering.lora import add_adapters, learned_weights, tune
from experiments.steering.settings import EncoderTuning, SteeringSettings
from experiments.steering.stages import Stage
from lab.encoder import open_model
from lab.run import RunDirectory, write_metrics
from sightline.jepa import SteeringDataset, batch_info_nce, fit_adapter
from sightline.jepa.baselines import fit_cosine, softly_filtered
from sightline.jepa.data import Ids
from sightline.jepa.ranking import LexicalIndex, Method, with_bm25
from sightline.retrieval import CachedEncoder, SentenceTransformerEncoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TUNED: Final = "tuned encoder"
TUNED_ADAPTER: Final = f"{TUNED}, adapter"
SOFT, WITH_BM25 = ", soft filter", " with BM25"
"""What a name ends with that says what is added."""
TUNED_METHODS: Final = (TUNED, TUNED + SOFT, TUNED + SOFT + WITH_BM25, TUNED_ADAPTER + SOFT + WITH_BM25)
"""The rows: the cosine of tuned vectors alone, with a soft filter by the category, with BM25 as well, and all of it
behind a linear adapter, as the frozen vectors have one."""

_TRAIN: Final = 0  # of `pair_split`


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
        with np.load(tune_and_embed_stages(settings, run, data, seed) / "vectors.npz", allow_pickle=False) as file:
            tuned = replace(data.dataset, questions=file["questions"], sources=file["sources"])
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
    """Tune the encoder and embed all questions and sources anew; a killed run finds what it has embedded.

    Returns:
        The folder of the second stage, with `questions` and `sources` in `vectors.npz`.
    """
    tuned = tune_encoder_stage(settings, run, data, seed)
    variant = f"{data.label} by the {TUNED}-seed{seed}"

    def compute(folder: Path) -> None:
        cache = run.work_folder(Stage.DATA, variant) / "embeddings.sqlite"
        encoder = CachedEncoder(SentenceTransformerEncoder(tuned / "model"), cache)
        dataset = data.dataset
        texts = list(dict.fromkeys((*dataset.question_texts, *dataset.source_texts)))
        vectors = embed_in_parts(encoder, texts, f"{data.name} anew")
        rows = {text: row for row, text in enumerate(texts)}

        def embedded(part: Sequence[str]) -> NDArray[np.float32]:
            return vectors[[rows[text] for text in part]]

        np.savez(
            folder / "vectors.npz",
            questions=embedded(dataset.question_texts),
            sources=embedded(dataset.source_texts),
        )

    return run.stage(Stage.DATA, compute, variant)


def tune_encoder(
    model: SentenceTransformer, dataset: SteeringDataset, tuning: EncoderTuning, *, seed: int, checkpoint: Path
) -> list[float]:
    """Tune a model in place on the training pairs, and merge its adapters into its weights.

    Same model, data, settings and seed, same weights, also where an earlier call was killed and left its checkpoint.

    Args:
        model: model with a transformer; it is left in evaluation mode.
        dataset: the data, with its texts.
        tuning: settings of the tuning.
        seed: seed of the adapters' first weights, the order of pairs and dropout.
        checkpoint: file to go on from, where it exists, and to write to.

    Returns:
        The loss of every step.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    batches = training_batches(dataset, tuning, seed)
    adapted = add_adapters(model.transformers_model, tuning.rank, seed)
    model.train()
    done = tune(
        learned_weights(adapted),
        len(batches),
        lambda step: contrastive_loss(model, dataset, batches[step], tuning),
        tuning,
        seed=seed,
        checkpoint=checkpoint,
    )
    adapted.merge_and_unload()
    model.eval()
    return done.losses


def training_batches(dataset: SteeringDataset, tuning: EncoderTuning, seed: int) -> list[Ids]:
    """Return the batches `[B, 2]` of all epochs, each pair for training once an epoch, in random order.

    A pair that is left over alone, with nothing to be contrasted with, is left out.
    """
    pairs = dataset.pairs[dataset.pair_split == _TRAIN]
    batches = []
    for epoch in range(tuning.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(pairs))
        batches += [pairs[order[at : at + tuning.batch_size]] for at in range(0, len(order), tuning.batch_size)]
    return [batch for batch in batches if len(batch) > 1]


def contrastive_loss(model: SentenceTransformer, dataset: SteeringDataset, pairs: Ids, tuning: EncoderTuning) -> Tensor:
    """Return symmetric InfoNCE of a batch of pairs `[B, 2]`, in which known right answers are no wrong ones."""
    questions, sources = (
        _embedded(model, [texts[row] for row in ids], tuning.max_tokens)
        for texts, ids in zip((dataset.question_texts, dataset.source_texts), pairs.T, strict=True)
    )
    known = torch.from_numpy(known_answers(dataset, pairs)).to(questions.device)
    return batch_info_nce(questions, sources, known, tuning.temperature)["loss"]


def known_answers(dataset: SteeringDataset, pairs: Ids) -> NDArray[np.bool_]:
    """Return `[B, B]` bool, True where source j of these pairs answers question i, or one of the same words."""
    questions, sources = pairs.T
    known = np.stack([np.isin(sources, right) for right in dataset.relevant(questions)])
    words = dataset.question_text_ids[questions]
    return known | (words[:, None] == words)


def _embedded(model: SentenceTransformer, texts: list[str], max_tokens: int) -> Tensor:
    """Return unit vectors `[B, D]` of texts, with gradients."""
    tokens = model.tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    features = {name: values.to(model.device) for name, values in tokens.items()}
    return torch.nn.functional.normalize(model(features)["sentence_embedding"], dim=1)
