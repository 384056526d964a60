"""One of everything that the package keeps on disk, and how it is made.

`python packages/jepa/tests/jepa_golden.py` writes it.

Files in `golden` are as an earlier version left them. They are written anew only together with a new version of the
format: what this version cannot read, users of the last one have lost. `golden_version_1` holds the model and the
checkpoint of the first version, which have no scorer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from sightline.jepa import JEPAConfig, JEPAModel, SteeringDataset
from sightline.jepa.data import write_dataset
from sightline.jepa.explaining import AnswerPolicy, Calibrator, write_explanations, write_policy
from sightline.jepa.explaining.decisions import ActionableSignal, Reason, Threshold
from sightline.jepa.explaining.evidence import FEATURES
from sightline.jepa.explaining.explanation import ExplainedResult, Explanation, SimilarKnownPair
from sightline.jepa.models.model import make_predictor
from sightline.jepa.training import EpochRecord
from sightline.jepa.training.checkpoint import Checkpoint, CheckpointState
from sightline.jepa.training.history import write_history

GOLDEN = Path(__file__).parent / "golden"
CONFIG = JEPAConfig.model_validate(
    {
        "model": "routed",
        "predictor": {"dimension": 2, "hidden_dimension": 1},
        "loss": {"negatives": "corpus_all"},  # what version 1 called "corpus"
    }
)
SCORER = JEPAConfig.model_validate(CONFIG.model_dump() | {"model": "scorer"})
AXES = np.eye(2, dtype=np.float32)
DATASET = SteeringDataset(
    questions=AXES[[0, 1, 0]],
    sources=AXES[[1, 0]],
    pairs=np.array([[0, 1], [1, 0], [2, 1]]),
    pair_split=np.array([0, 1, 2], dtype=np.int8),
    question_category=np.array([0, -1, 1]),
    source_category=np.array([1, 0]),
    question_text_ids=np.arange(3),
    source_text_ids=np.arange(2),
    category_vectors=AXES,
    keyword_vectors=np.array([[0, 1], [0, 0], [1, 0]], dtype=np.float32),
    centroids=AXES[::-1].copy(),
    names=("first", "zweite ★"),
    encoder="axes",
    question_texts=("one", "two\n", "three \ud800"),
    source_texts=("", "source"),
)
HISTORY = [
    EpochRecord(
        epoch=epoch,
        score=0.5,
        learning_rate=0.125,
        seconds=2.0,
        training={"total/loss": float("inf")} if epoch else {},
        gradient_norm={},
        validation={"none": 0.25},
        collapse={"rank_me": 1.5},
        steering={"none": 1.0} if epoch else {},
    )
    for epoch in range(2)
]
_WEIGHTS = tuple(number / 8 for number in range(len(FEATURES)))
_CALIBRATOR = Calibrator(
    features=FEATURES, means=_WEIGHTS, scales=(0.5,) * len(FEATURES), coefficients=_WEIGHTS, intercept=-0.25
)
POLICY = AnswerPolicy(
    first_right=_CALIBRATOR,
    among_results=_CALIBRATOR,
    subspace_right=_CALIBRATOR,
    trust=Threshold(value=0.75, target=0.9, confidence=0.95, bound=None, coverage=0.5, groups=60),
    check_from=0.5,
    ask_below=0.25,
    narrow_margin=-6.0,
    unfamiliar=0.125,
    fine_norm_quantiles=tuple((np.arange(101) / 128).tolist()),
)
EXPLANATION = Explanation(
    actionable_signal=ActionableSignal.CHECK,
    reasons=(Reason.RESULTS_LIKELY,),
    confidence=0.5,
    results_confidence=0.75,
    primary_subspace="first",
    subspace_confidence=0.25,
    routing_distribution={"first": 0.75, "zweite ★": 0.25},
    routing_entropy=0.5,
    has_steering=True,
    steering_influence=0.125,
    rank_change=2.0,
    primary_without_steering="zweite ★",
    atypicality=0.0,
    results=(ExplainedResult(source=1, subspace="first", score=0.5, rank_without_steering=3),),
    similar_known_pairs=(SimilarKnownPair(known=0, source=1, similarity=0.25),),
    prediction=(0.0, 1.0),
)


def model(config: JEPAConfig = CONFIG) -> JEPAModel:
    predictor = make_predictor(config, torch.from_numpy(DATASET.centroids), torch.from_numpy(DATASET.category_vectors))
    start = 0
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.copy_(torch.arange(start, start + parameter.numel()).reshape(parameter.shape) / 8)
            start += parameter.numel()
    return JEPAModel(config, predictor, encoder="axes", names=DATASET.names)


def checkpoint() -> Checkpoint:
    state = CheckpointState(config=CONFIG, dataset="0" * 64, epoch=1, step=7, best_epoch=1, history=tuple(HISTORY))
    return Checkpoint(state, {"predictor.weight": torch.arange(3) / 8, "optimizer.0.step": torch.tensor(7.0)})


def write(folder: Path) -> None:
    write_dataset(folder / "dataset", DATASET)
    model().save_pretrained(folder / "model", {"none": 0.25})
    model(SCORER).save_pretrained(folder / "scorer", {"none": 0.25})
    checkpoint().save(folder / "checkpoint.safetensors")
    write_history(folder / "history.jsonl", HISTORY)
    write_policy(folder / "policy.json", POLICY)
    write_explanations(folder / "explanations.jsonl", [EXPLANATION])


if __name__ == "__main__":
    if GOLDEN.exists():
        sys.exit(f"{GOLDEN} is there already; move it away first")
    write(GOLDEN)
