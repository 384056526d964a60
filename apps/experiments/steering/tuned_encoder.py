"""The encoder itself, tuned by LoRA: questions and their sources are drawn together, wrong pairs of a batch apart.

All other methods leave the encoder as it is. This one shows how much of a gap that leaves. Its objective is the
multiple negatives ranking loss of sentence-transformers in both directions (InfoNCE), with low-rank adapters (Hu et al.
2021) merged into the weights at the end. Only pairs for training are read: texts of validation and test are neither
right nor wrong answers. Steering comes on top, as a soft filter and by BM25, as for other methods.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.steering.data import Data, embed_in_parts
from experiments.steering.settings import EncoderTuning, SteeringSettings
from experiments.steering.stages import Stage
from lab.encoder import open_model
from lab.run import RunDirectory, write_metrics
from sightline.jepa import SteeringDataset, batch_info_nce, fit_adapter
from sightline.jepa.baselines import GRID, fit_cosine, softly_filtered
from sightline.jepa.data import Ids
from sightline.jepa.ranking import LexicalIndex, Method, with_bm25
from sightline.retrieval import CachedEncoder, SentenceTransformerEncoder
from sightline.retrieval.files import atomic_file

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

TUNED: Final = "tuned encoder"
TUNED_ADAPTER: Final = f"{TUNED}, adapter"
_SOFT, _WITH_BM25 = ", soft filter", " with BM25"
TUNED_METHODS: Final = (TUNED, TUNED + _SOFT, TUNED + _SOFT + _WITH_BM25, TUNED_ADAPTER + _SOFT + _WITH_BM25)
"""The rows: the cosine of tuned vectors alone, with a soft filter by the category, with BM25 as well, and all of it
behind a linear adapter, as the frozen vectors have one."""

_TRAIN: Final = 0  # of `pair_split`
_WARM_UP: Final = 0.1  # share of the steps, as sentence-transformers' examples have it
_WEIGHT_DECAY: Final = 0.01
_LARGEST_GRADIENT: Final = 1.0


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
    share = settings.unreliable_share
    if name.endswith(_WITH_BM25):
        base = tuned_method(settings, run, data, name.removesuffix(_WITH_BM25), seed, words)
        return with_bm25(base, words(), data.dataset, unreliable_share=share)
    if name.endswith(_SOFT):
        base = tuned_method(settings, run, data, name.removesuffix(_SOFT), seed, words)
        return softly_filtered(base, data.dataset, unreliable_share=share)
    with np.load(tune_and_embed_stages(settings, run, data, seed) / "vectors.npz", allow_pickle=False) as file:
        tuned = replace(data.dataset, questions=file["questions"], sources=file["sources"])
    if name == TUNED_ADAPTER:  # unsteered, so that no vector but those two parts' is read
        grid = tuple(replace(each, max_epochs=settings.adapter_epochs) for each in GRID[: settings.adapter_choices])
        return fit_adapter(tuned, seed, kind="none", grid=grid)
    return replace(fit_cosine(tuned, seed), name=TUNED)


def tune_encoder_stage(settings: SteeringSettings, run: RunDirectory, data: Data, seed: int) -> Path:
    """Tune the encoder on a data set; a killed run goes on after its last checkpoint.

    Returns:
        The folder of its stage, with a sentence-transformers `model` and `metrics.jsonl` in it.
    """
    variant = f"{TUNED}-{data.label}-seed{seed}"

    def compute(folder: Path) -> None:
        model = open_model(settings)
        checkpoint = run.work_folder(Stage.TRAINING, variant) / "checkpoint.pt"
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
    adapted = _with_adapters(model, tuning, seed)
    learned = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    # The rate of the schedule is set at every step.
    optimizer = torch.optim.AdamW(learned.values(), lr=tuning.learning_rate, weight_decay=_WEIGHT_DECAY)
    state = _State.load(checkpoint, learned, optimizer)
    started = time.process_time()
    model.train()
    for step in range(len(state.losses), len(batches)):
        for group in optimizer.param_groups:
            group["lr"] = tuning.learning_rate * _share_of_rate(step, len(batches))
        with _seeded(seed, step + 1):
            loss = contrastive_loss(model, dataset, batches[step], tuning)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss.item()} at step {step}; lower tuning.learning_rate ({tuning.learning_rate})"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned.values(), _LARGEST_GRADIENT)
        optimizer.step()
        state.losses.append(loss.item())
        if (step + 1) % tuning.checkpoint_steps == 0:
            state.save(checkpoint)
            spent = time.process_time() - started
            recent = np.mean(state.losses[-tuning.checkpoint_steps :])
            logger.info("step %d of %d: loss %.4f, %.0f CPU s", step + 1, len(batches), recent, spent)
    adapted.merge_and_unload()
    model.eval()
    return state.losses


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


def _with_adapters(model: SentenceTransformer, tuning: EncoderTuning, seed: int) -> Any:
    """Put adapters on all linear layers of a model's transformer, in place, and freeze everything else."""
    import peft

    config = peft.LoraConfig(r=tuning.rank, lora_alpha=2 * tuning.rank, target_modules="all-linear", bias="none")
    with _seeded(seed, 0), warnings.catch_warnings():
        # PEFT reads a property that transformers has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        for weight in model.parameters():
            weight.requires_grad_(False)
        transformer: Any = model.transformers_model  # None of a model without one, which PEFT refuses
        return peft.get_peft_model(transformer, config)


def _share_of_rate(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step from 0: up to 1 in the warm-up, then linearly towards 0."""
    rising = max(1, round(_WARM_UP * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising + 1))


@contextmanager
def _seeded(seed: int, step: int) -> Generator[None]:
    """Seed torch's global generator for one step, 0 for first weights, and put it back afterwards."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(state) >> 1)  # 63 bits, as torch wants them signed
        yield


@dataclass(frozen=True)
class _State:
    """A tuning between two steps."""

    learned: dict[str, Tensor]
    """The adapters' weights by name."""
    optimizer: torch.optim.Optimizer
    """Their optimiser."""
    losses: list[float]
    """The loss of every step so far."""

    @classmethod
    def load(cls, file: Path, learned: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> _State:
        """Put weights and optimiser where a file says, if there is one."""
        if not file.exists():
            return cls(learned, optimizer, [])
        stored = torch.load(file, weights_only=True)
        with torch.no_grad():
            for name, weight in learned.items():
                weight.copy_(stored["learned"][name])
        optimizer.load_state_dict(stored["optimizer"])
        return cls(learned, optimizer, stored["losses"])

    def save(self, path: Path) -> None:
        """Write the file; whoever reads it finds this state or the one before, whole."""
        learned = {name: weight.detach() for name, weight in self.learned.items()}
        with atomic_file(path) as file:
            torch.save({"learned": learned, "optimizer": self.optimizer.state_dict(), "losses": self.losses}, file)
