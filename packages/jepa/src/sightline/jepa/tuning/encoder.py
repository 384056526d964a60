"""The encoder itself, tuned by LoRA on training pairs; texts of validation and test are neither right nor wrong there.

Its objective is the multiple negatives ranking loss of sentence-transformers in both directions (InfoNCE), with
low-rank adapters merged into the weights at the end. The module knows nothing of steering.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.jepa.data.dataset import SteeringDataset
from sightline.jepa.data.splits import TRAIN, Ids
from sightline.jepa.losses.losses import batch_info_nce
from sightline.jepa.tuning.low_rank import add_adapters, learned_weights, tune
from sightline.jepa.tuning.settings import EncoderTuning

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


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
        ImportError: PEFT is not installed; the message has the command that installs it.
        CheckpointError: the checkpoint is damaged.
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
    pairs = dataset.pairs[dataset.pair_split == TRAIN]
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
