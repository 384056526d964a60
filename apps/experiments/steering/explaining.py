"""What is measured of explanations: calibration, signals, steering strength, faithfulness; and some as pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.steering.confidence import Observed, Ranking, finite, measure_confidence, observe
from experiments.steering.data import Data
from experiments.steering.methods import (
    DEFAULT_WITH_BM25,
    DEFAULT_WITH_TUNING,
    PREDICTORS,
    ROUTED,
    TUNED_DEFAULT,
    Scores,
    model_method,
    open_model,
    train_predictor_stage,
)
from experiments.steering.settings import SteeringSettings
from experiments.steering.stages import Stage
from experiments.steering.tuned_encoder import tuned_data
from lab.report import SMOKE_NOTICE
from lab.run import RunDirectory, write_text
from sightline.jepa import Explainer, JEPAModel, render_page, steering
from sightline.jepa.data import changed_categories
from sightline.jepa.explaining import (
    ActionableSignal,
    PredictFunction,
    Questions,
    ablate_parts,
    ablate_routing,
    compare_with_control,
    force_subspace,
    index_for,
    measure_steering_strength,
    plain_predictions,
    routed_predictions,
    with_random_router,
    write_policy,
)
from sightline.jepa.ranking import fit_lexical_index, with_bm25

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
FORCED = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the routing weight that are moved to a subspace by hand."""


def explain_stages(
    settings: SteeringSettings, run: RunDirectory, data: Data, name: str, scores: Scores
) -> list[dict[str, Any]]:
    """Return, for each training seed of what is explained, everything about its explanations.

    Of the defaults with BM25, confidence is that in the ranking by both together. Folds are of what is explained with
    the first seed.
    """
    explained = _explained(settings, name, scores)
    count = settings.tuning.folds if explained[0].tuned else settings.folds
    folds = [_observe_fold_stage(settings, run, data, explained[0], fold, count) for fold in range(count)]
    return [_explain_stage(settings, run, data, each, folds) for each in explained]


@dataclass(frozen=True)
class _Explained:
    """What is explained: a method with a training seed, as the model that it ranks by."""

    name: str
    model: str
    seed: int
    tuned: bool = False

    def train_stages(self, settings: SteeringSettings, run: RunDirectory, data: Data) -> Data:
        """Train it in stages of its own, whose time is not that of asking; return the data with what vectors it reads.

        What is there already is not trained again.
        """
        vectors = tuned_data(settings, run, data, self.seed) if self.tuned else data
        train_predictor_stage(settings, run, vectors, self.model, self.seed)
        return vectors

    def ranking(self, settings: SteeringSettings, run: RunDirectory, vectors: Data) -> Ranking:
        """Return how it ranks, with words as validation weighs them if it adds any."""
        model = open_model(settings, run, vectors, self.model, self.seed)
        index, words = index_for(model, vectors.dataset), None
        if self.name not in PREDICTORS:
            method, lexical = model_method(self.model, model, index, vectors), fit_lexical_index(vectors.dataset)
            words = with_bm25(method, lexical, vectors.dataset, unreliable_share=settings.unreliable_share).added
        return Ranking(model, _function(model, vectors, self.model), index, words)


def _explained(settings: SteeringSettings, name: str, scores: Scores) -> list[_Explained]:
    """Return what is explained of a method, one for each of its seeds."""
    if name == DEFAULT_WITH_TUNING:
        return [
            _Explained(name, TUNED_DEFAULT if tuned else kept, seed, tuned)
            for seed, kept, tuned in zip(settings.seeds, scores.kept, scores.tuned, strict=False)
        ]
    models = scores.kept if name == DEFAULT_WITH_BM25 else [name] * len(settings.seeds)
    return [_Explained(name, model, seed) for model, seed in zip(models, settings.seeds, strict=True)]


def _explain_stage(
    settings: SteeringSettings, run: RunDirectory, data: Data, explained: _Explained, folds: Sequence[Observed]
) -> dict[str, Any]:
    """Return everything about the explanations of one model, as the JSON that its stage holds."""
    name, seed = explained.name, explained.seed
    vectors = explained.train_stages(settings, run, data)

    def compute(folder: Path) -> None:
        ranking = explained.ranking(settings, run, vectors)
        validation, (test, evidence) = observe(ranking, vectors, "validation")[0], observe(ranking, vectors, "test")
        policy = Observed.joined([validation, *folds]).policy()
        write_policy(folder / "policy.json", policy)
        found = measure_confidence(policy, test, evidence, [validation, *folds])
        if name in PREDICTORS:
            found["obedience"] = _steering_strength(ranking, data, seed)
        if name == ROUTED:
            found["faithfulness"] = _faithfulness(ranking, data, seed)
            if seed == settings.seeds[0]:
                notice = SMOKE_NOTICE if run.smoke else ""
                _write_cards(folder, Explainer(ranking.predict, ranking.index, policy), data, settings.cards, notice)
        write_text(folder / "explained.json", json.dumps(found, indent=1) + "\n")

    folder = run.stage(Stage.EXPLANATIONS, compute, f"{name}-{data.name}-seed{seed}")
    return json.loads((folder / "explained.json").read_text(encoding="utf-8"))


def _observe_fold_stage(
    settings: SteeringSettings, run: RunDirectory, data: Data, explained: _Explained, fold: int, folds: int
) -> Observed:
    """Return the questions of one fold of the training part, as a model of the first seed without them answers."""
    without = explained.train_stages(settings, run, data.without_fold(fold, folds))

    def compute(folder: Path) -> None:
        observe(explained.ranking(settings, run, without), without, "test")[0].write(folder / "observed.npz")

    folder = run.stage(Stage.EVIDENCE, compute, f"{explained.name}-{data.name}-fold{fold}")
    return Observed.read(folder / "observed.npz")


def _function(model: JEPAModel, data: Data, name: str) -> PredictFunction:
    if name == ROUTED:
        return routed_predictions(model)
    of_categories = torch.from_numpy(np.array(data.dataset.centroids))
    centroids = model.embed_index(of_categories, torch.arange(len(of_categories))).numpy()
    return plain_predictions(model, centroids[:, : of_categories.shape[1]])


def _steering_strength(ranking: Ranking, data: Data, seed: int) -> dict[str, Any]:
    """Follow the given categories with several strengths, and others in their place."""
    predict, index = ranking.predict, ranking.index
    ids = data.dataset.queries("test")
    own = np.array(data.dataset.question_category[ids])
    changed = changed_categories(data.dataset, ids, share=1.0, change="random", seed=seed)
    found: dict[str, Any] = {"dial": list(STRENGTHS)}
    for which, categories in (("true", own), ("changed", changed)):
        steered = steering(data.dataset, ids, "category", categories)
        questions, relevant = np.array(data.dataset.questions[ids]), data.dataset.relevant(ids)
        curve = measure_steering_strength(
            predict, index, questions, steered.vectors, categories, relevant, steering_strength=STRENGTHS
        )
        found[which] = {"share": curve.mean_share.tolist(), "mrr": curve.mean_reciprocal_rank.tolist()}
    return found


def _faithfulness(ranking: Ranking, data: Data, seed: int) -> dict[str, float | list[float]]:
    """Intervene on the routing of a routed predictor, and return means over the test questions."""
    model, predict, index = ranking.model, ranking.predict, ranking.index
    ids = data.dataset.queries("test")
    steered = data.ask("test", "category").steering
    asked = Questions(
        np.array(data.dataset.questions[ids]), steered.vectors, steered.has_steering, data.dataset.relevant(ids)
    )
    own = np.array([index.source_category[answers[0]] for answers in asked.relevant])
    other = (own + np.random.default_rng(seed).integers(1, len(index.names), len(own))) % len(index.names)
    targets = {"true": own, "other": other}
    forced = {which: force_subspace(predict, index, asked, to, weight=FORCED) for which, to in targets.items()}
    parts = ablate_parts(predict, index, asked)
    routing = ablate_routing(predict, index, asked, seed=seed)
    control = compare_with_control(predict, routed_predictions(with_random_router(model, seed=seed)), index, asked)
    found = {f"force_{which}_share": each.share.mean(axis=1).tolist() for which, each in forced.items()}
    found |= {f"force_{which}_mrr": each.reciprocal_rank.mean(axis=1).tolist() for which, each in forced.items()}
    for result, names in (
        (parts, ("full", "coarse_only", "fine_only", "first_kept_by_coarse", "first_kept_by_fine")),
        (routing, ("sufficiency", "sufficiency_random", "comprehensiveness", "comprehensiveness_random")),
        (control, ("same_primary", "correlation", "overlap")),
    ):
        found |= {field: finite(np.nanmean(getattr(result, field))) for field in names}
    return found


def _write_cards(folder: Path, explainer: Explainer, data: Data, count: int, notice: str) -> None:
    """Write explanations of test questions as pages: one for each signal that occurs, then further questions."""
    dataset = data.dataset
    ids = dataset.queries("test")
    steered = data.ask("test", "category").steering
    explanations = explainer.explain_batch(np.array(dataset.questions[ids]), steered.vectors, steered.has_steering)
    signals = [explanation.actionable_signal for explanation in explanations]
    first = [signals.index(signal) for signal in ActionableSignal if signal in signals]
    chosen = [*first, *(row for row in range(len(ids)) if row not in first)][:count]
    known = dataset.pairs[dataset.pair_split == 0, 0]
    for number, row in enumerate(chosen):
        page = render_page(
            explanations[row],
            question=dataset.question_texts[ids[row]],
            steering=dataset.names[dataset.question_category[ids[row]]],
            source_text=lambda source: dataset.source_texts[source],
            known_text=lambda pair: dataset.question_texts[known[pair]],
            notice=notice,
        )
        write_text(folder / f"card-{number}-{signals[row]}.html", page)
