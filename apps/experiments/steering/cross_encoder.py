"""A cross-encoder: a transformer that reads a question and a source together, and says how well they fit.

It is tuned by LoRA on the training pairs of a data set, to tell their sources from the nearest wrong ones. Only
training pairs are read for that. It starts as the encoder: its head is that of a cosine of the two parts. It knows no
steering.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from experiments.steering.data import Data
from experiments.steering.settings import Distillation, SteeringSettings
from experiments.steering.stages import Stage
from lab.encoder import open_model
from lab.run import RunDirectory, write_metrics, write_text
from sightline.jepa import SteeringDataset, steering
from sightline.jepa.data import Ids
from sightline.jepa.ranking import Method, method_scores
from sightline.jepa.tuning import add_adapters, learned_weights, restore_weights, tune
from sightline.retrieval.files import atomic_file

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CROSS: Final = "cross-encoder"

_TRAIN: Final = 0  # of `pair_split`
_TEMPERATURE: Final = 0.05  # divisor of the first cosines, that of the tuned encoder
_NEAREST: Final = 20  # wrong sources that a pair's candidates are drawn from, as many as are ranked anew
_PAIRS_AT_ONCE: Final = 64
_PAIRS_OF_PART: Final = 2048
_WEIGHTS, _COST = "cross-encoder.safetensors", "cost.json"


class CrossEncoder(torch.nn.Module):
    """A transformer over "question [SEP] source", and a scalar of what its last layer makes of the two parts.

    Args:
        model: model with a transformer, whose weights are used in place.
        distillation: rank and length.
        seed: seed of the adapters' first weights.
    """

    def __init__(self, model: SentenceTransformer, distillation: Distillation, seed: int) -> None:
        super().__init__()
        self._tokenizer: Any = model.tokenizer
        self._max_tokens = distillation.max_tokens
        self.transformer: Any = add_adapters(model.transformers_model, distillation.rank, seed)
        # A random head would have to learn from a thousand pairs what the encoder knows.
        self.head = torch.nn.Parameter(torch.ones(self.transformer.config.hidden_size, device=model.device))

    def forward(self, questions: list[str], sources: list[str]) -> Tensor:
        """Return logits `[n]` of n questions, each with one source."""
        tokens = self._tokenizer(
            questions, sources, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        )
        part_of = [[-1 if part is None else part for part in tokens.sequence_ids(row)] for row in range(len(questions))]
        parts = torch.tensor(part_of, device=self.head.device)[..., None]
        hidden = self.transformer(**tokens.to(self.head.device)).last_hidden_state
        question, source = (functional.normalize((hidden * (parts == part)).sum(dim=1), dim=1) for part in (0, 1))
        return (question * source) @ self.head / _TEMPERATURE


class Lessons(NamedTuple):
    """What a cross-encoder thinks of sources."""

    candidates: Ids
    """`[P, C]` int64, sources of the training pairs, the right one first."""
    scores: NDArray[np.float32]
    """`[P, C]` float32, logits."""
    questions: Ids
    """`[q]` int64, the questions of validation and test."""
    best: Ids
    """`[q, N]` int64, their best sources by a simple method, from all there are."""
    best_scores: NDArray[np.float32]
    """`[q, N]` float32, logits."""


def hard_candidates(dataset: SteeringDataset, count: int, seed: int) -> Ids:
    """Return for every training pair its source, and wrong ones drawn among the nearest by cosine, `[P, count]`.

    Wrong is a source of another training pair that is known to answer neither the question nor one of the same words.

    Args:
        dataset: the data.
        count: number of candidates of a pair; fewer where some pair has not as many.
        seed: seed of the draw.

    Raises:
        ValueError: all sources of training pairs answer one question.
    """
    questions, own = dataset.pairs[dataset.pair_split == _TRAIN].T
    pool, words = np.unique(own), dataset.question_text_ids[questions]
    right: dict[int, set[int]] = {}
    for text, answers in zip(words.tolist(), dataset.relevant(questions), strict=True):
        right.setdefault(text, set()).update(answers.tolist())
    known = {text: np.isin(pool, list(answers)) for text, answers in right.items()}
    most = len(pool) - max(int(answers.sum()) for answers in known.values())
    if not most:
        raise ValueError("the sources of all training pairs answer one question, so none is wrong; add more pairs")
    rng = np.random.default_rng(seed)
    vectors, found = dataset.sources[pool], []
    for question, text, answer in zip(questions, words.tolist(), own, strict=True):
        cosines = np.where(known[text], -np.inf, vectors @ dataset.questions[question])
        nearest = np.argsort(-cosines, kind="stable")[: min(_NEAREST, most)]
        drawn = rng.choice(nearest, size=min(count - 1, len(nearest)), replace=False)
        found.append([answer, *pool[drawn]])
    return np.array(found, dtype=np.int64)


def tune_cross_encoder(
    model: CrossEncoder,
    dataset: SteeringDataset,
    candidates: Ids,
    distillation: Distillation,
    *,
    seed: int,
    checkpoint: Path,
) -> tuple[list[float], float]:
    """Tune a cross-encoder in place, by the cross-entropy of the first among each training pair's candidates.

    Same arguments, same weights, also where an earlier call was killed and left its checkpoint.

    Args:
        model: model to tune; it is left in evaluation mode.
        dataset: the data, with its texts.
        candidates: `[P, C]`, the sources of every training pair, the right one first.
        distillation: settings of the tuning.
        seed: seed of the order of pairs and of dropout.
        checkpoint: file to go on from, where it exists, and to write to.

    Returns:
        The loss of every step, and the CPU seconds of all.
    """
    questions = dataset.pairs[dataset.pair_split == _TRAIN, 0]
    batches: list[Ids] = []
    for epoch in range(distillation.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(questions))[: distillation.pairs]
        batches += np.split(order, range(distillation.batch_size, len(order), distillation.batch_size))

    def loss_of(step: int) -> Tensor:
        rows = batches[step]
        asked = np.repeat(questions[rows], candidates.shape[1])
        logits = _logits(model, dataset, asked, candidates[rows].ravel()).view(len(rows), -1)
        return functional.cross_entropy(logits, torch.zeros(len(rows), dtype=torch.int64, device=logits.device))

    model.train()
    done = tune(learned_weights(model), len(batches), loss_of, distillation, seed=seed, checkpoint=checkpoint)
    model.eval()
    return done.losses, done.seconds


def score_pairs(
    model: CrossEncoder, dataset: SteeringDataset, question_ids: Ids, source_ids: Ids, folder: Path
) -> tuple[NDArray[np.float32], float]:
    """Score sources for questions, in parts that a folder keeps.

    Args:
        model: model to ask.
        dataset: the data, with its texts.
        question_ids: `[n]`.
        source_ids: `[n, C]`, sources of each.
        folder: folder in which a killed start finds what it has scored.

    Returns:
        Logits `[n, C]` float32, and the CPU seconds of all parts.
    """
    questions, sources = np.repeat(question_ids, source_ids.shape[1]), source_ids.ravel()
    lengths = [
        len(dataset.question_texts[question]) + len(dataset.source_texts[source])
        for question, source in zip(questions, sources, strict=True)
    ]
    by_length = np.argsort(lengths, kind="stable")  # texts of one length waste no time on padding
    scores, seconds = np.empty(len(sources), dtype=np.float32), 0.0
    for start in range(0, len(sources), _PAIRS_OF_PART):
        rows = by_length[start : start + _PAIRS_OF_PART]
        file = folder / f"part-{start}.npz"
        if not file.exists():
            began = time.process_time()
            with torch.inference_mode():
                found = [
                    _logits(model, dataset, questions[some], sources[some]).float().cpu().numpy()
                    for some in np.split(rows, range(_PAIRS_AT_ONCE, len(rows), _PAIRS_AT_ONCE))
                ]
            with atomic_file(file) as written:
                np.savez(written, scores=np.concatenate(found), seconds=time.process_time() - began)
        with np.load(file, allow_pickle=False) as part:
            scores[rows] = part["scores"]
            seconds += float(part["seconds"])
    return scores.reshape(source_ids.shape), seconds


def best_sources(method: Method, dataset: SteeringDataset, question_ids: Ids, count: int) -> Ids:
    """Return the best sources of each question by a method without steering, `[q, count]`, best first."""
    scores = method_scores(method, question_ids, steering(dataset, question_ids, "none"))
    blocks = (slice(start, start + 256) for start in range(0, len(question_ids), 256))
    return np.concatenate([np.argsort(-scores(block), axis=1, kind="stable")[:, :count] for block in blocks])


def cross_encoder_stage(settings: SteeringSettings, run: RunDirectory, data: Data, seed: int) -> Path:
    """Tune a cross-encoder on a data set; a killed run goes on after its last checkpoint.

    Returns:
        The folder of its stage, with its learned weights, its `metrics.jsonl` and what it cost in it.
    """
    variant = _variant(data.label, seed)

    def compute(folder: Path) -> None:
        chosen = settings.distillation
        model = CrossEncoder(open_model(settings), chosen, seed)
        candidates = hard_candidates(data.dataset, chosen.candidates, seed)
        checkpoint = run.work_folder(Stage.TRAINING, variant) / "checkpoint.safetensors"
        losses, seconds = tune_cross_encoder(model, data.dataset, candidates, chosen, seed=seed, checkpoint=checkpoint)
        safetensors.torch.save_file(learned_weights(model), folder / _WEIGHTS)
        rows = [
            {"data": data.label, "method": CROSS, "seed": seed, "epoch": epoch, "loss": float(part.mean())}
            for epoch, part in enumerate(np.array_split(losses, chosen.epochs), 1)
        ]
        write_metrics(folder, rows)
        _write_cost(folder, seconds)

    return run.stage(Stage.TRAINING, compute, variant)


def lessons_stages(
    settings: SteeringSettings, run: RunDirectory, data: Data, seed: int, simple: Callable[[], Method]
) -> Path:
    """Tune a cross-encoder, and let it score candidates of training pairs and the best sources of other questions.

    Args:
        settings: settings of the run.
        run: folder of the run.
        data: data set.
        seed: seed of the tuning.
        simple: function to the method whose best sources are scored for the questions of validation and test.

    Returns:
        The folder of the second stage, from which `read_lessons` reads.
    """
    tuned = cross_encoder_stage(settings, run, data, seed)
    variant = f"{_variant(data.label, seed)}-scores"

    def compute(folder: Path) -> None:
        dataset, chosen = data.dataset, settings.distillation
        model = CrossEncoder(open_model(settings), chosen, seed)
        restore_weights(learned_weights(model), safetensors.torch.load_file(tuned / _WEIGHTS))
        model.transformer = model.transformer.merge_and_unload()
        model.eval()
        work = run.work_folder(Stage.DATA, variant)
        candidates = hard_candidates(dataset, chosen.candidates, seed)
        pairs = dataset.pairs[dataset.pair_split == _TRAIN, 0]
        scores, seconds = score_pairs(model, dataset, pairs, candidates, work / "candidates")
        questions = np.concatenate([dataset.queries("validation"), dataset.queries("test")])
        best = best_sources(simple(), dataset, questions, chosen.reranked)
        best_scores, more = score_pairs(model, dataset, questions, best, work / "best")
        found = Lessons(candidates, scores, questions, best, best_scores)
        np.savez(folder / "lessons.npz", **found._asdict())
        _write_cost(folder, seconds + more)

    return run.stage(Stage.DATA, compute, variant)


def read_lessons(folder: Path) -> Lessons:
    """Read what the folder of a stage holds."""
    with np.load(folder / "lessons.npz", allow_pickle=False) as file:
        return Lessons(**{name: file[name] for name in Lessons._fields})


def cross_encoder_seconds(run: RunDirectory, data_label: str, seed: int) -> tuple[float, float]:
    """Return the CPU seconds of tuning one cross-encoder, and of its scores."""
    variant = _variant(data_label, seed)
    folders = (run.stage_folder(Stage.TRAINING, variant), run.stage_folder(Stage.DATA, f"{variant}-scores"))
    tuning, scores = (json.loads((folder / _COST).read_text(encoding="utf-8"))["seconds"] for folder in folders)
    return tuning, scores


def _variant(data_label: str, seed: int) -> str:
    return f"{CROSS}-{data_label}-seed{seed}"


def _write_cost(folder: Path, seconds: float) -> None:
    write_text(folder / _COST, json.dumps({"seconds": round(seconds, 1)}) + "\n")


def _logits(model: CrossEncoder, dataset: SteeringDataset, questions: Sequence[int] | Ids, sources: Ids) -> Tensor:
    """Return logits `[n]` of questions, each with one source."""
    return model([dataset.question_texts[row] for row in questions], [dataset.source_texts[row] for row in sources])
