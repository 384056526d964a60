"""What is measured of explanations: calibration, signals, steering strength, faithfulness; and some as pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import brier_score_loss

from experiments.steering.data import Data
from experiments.steering.methods import (
    DEFAULT_WITH_BM25,
    PREDICTORS,
    ROUTED,
    Scores,
    model_method,
    open_model,
    train_predictor_stage,
)
from experiments.steering.settings import SteeringSettings
from experiments.steering.stages import Stage
from lab.report import SMOKE_NOTICE
from lab.run import RunDirectory, write_text
from sightline.jepa import Explainer, JEPAModel, SourceIndex, Steering, fit_policy, render_page, steering
from sightline.jepa.data import Ids, Split, changed_categories
from sightline.jepa.explaining import (
    ActionableSignal,
    AnswerPolicy,
    Evidence,
    Outcomes,
    PredictFunction,
    Questions,
    ablate_parts,
    ablate_routing,
    calibration_error_by_chance,
    compare_with_control,
    force_subspace,
    gather_evidence,
    index_for,
    influence_agreement,
    judge,
    measure_steering_strength,
    plain_predictions,
    reliability,
    report_signals,
    risk_coverage,
    routed_predictions,
    with_random_router,
    write_policy,
)
from sightline.jepa.ranking import Method, fit_lexical_index, method_scores, with_bm25

MIXED = ("none", "category", "unreliable")
"""Modes in which every question is asked for calibration, on validation and on test alike."""
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
FORCED = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the routing weight that are moved to a subspace by hand."""


def explain_stages(
    settings: SteeringSettings, run: RunDirectory, data: Data, name: str, scores: Scores
) -> list[dict[str, Any]]:
    """Return, for each training seed of what is explained, everything about its explanations.

    Of the default with BM25, confidence is that in the ranking by both together. Its folds are of what it is with the
    first seed.
    """
    models = scores.kept if name == DEFAULT_WITH_BM25 else [name] * len(settings.seeds)
    folds = [_observe_fold_stage(settings, run, data, name, models[0], fold) for fold in range(settings.folds)]
    return [
        _explain_stage(settings, run, data, name, model, seed, folds)
        for model, seed in zip(models, settings.seeds, strict=True)
    ]


@dataclass(frozen=True)
class _Ranking:
    """What ranks sources: a model, what it searches, and the words that add to its scores, if any do."""

    model: JEPAModel
    predict: PredictFunction
    index: SourceIndex
    words: Method | None


@dataclass(frozen=True)
class _Observed:
    """Questions that a model has not seen, and what came of them; the parts that a policy is fitted to."""

    features: np.ndarray
    outcomes: Outcomes
    groups: np.ndarray


def _explain_stage(
    settings: SteeringSettings,
    run: RunDirectory,
    data: Data,
    name: str,
    model: str,
    seed: int,
    folds: Sequence[_Observed],
) -> dict[str, Any]:
    """Return everything about the explanations of one model, as the JSON that its stage holds."""
    train_predictor_stage(settings, run, data, model, seed)

    def compute(folder: Path) -> None:
        ranking = _ranking(settings, run, data, model, seed, with_words=name == DEFAULT_WITH_BM25)
        predict, index = ranking.predict, ranking.index
        policy = _policy(ranking, data, folds)
        write_policy(folder / "policy.json", policy)
        found = _calibration(policy, ranking, data)
        if name in PREDICTORS:
            found["obedience"] = _steering_strength(predict, index, data, seed)
        if name == ROUTED:
            found["faithfulness"] = _faithfulness(ranking, data, seed)
            if seed == settings.seeds[0]:
                notice = SMOKE_NOTICE if run.smoke else ""
                _write_cards(folder, Explainer(predict, index, policy), data, settings.cards, notice)
        write_text(folder / "explained.json", json.dumps(found, indent=1) + "\n")

    folder = run.stage(Stage.EXPLANATIONS, compute, f"{name}-{data.name}-seed{seed}")
    return json.loads((folder / "explained.json").read_text(encoding="utf-8"))


def _ranking(
    settings: SteeringSettings, run: RunDirectory, data: Data, name: str, seed: int, *, with_words: bool
) -> _Ranking:
    """Return how a model ranks, with words as validation weighs them if they are to be added."""
    model = open_model(settings, run, data, name, seed)
    index, words = index_for(model, data.dataset), None
    if with_words:
        method, lexical = model_method(name, model, index, data), fit_lexical_index(data.dataset)
        words = with_bm25(method, lexical, data.dataset, unreliable_share=settings.unreliable_share).added
    return _Ranking(model, _function(model, data, name), index, words)


def _policy(ranking: _Ranking, data: Data, folds: Sequence[_Observed]) -> AnswerPolicy:
    """Return a policy fitted to validation questions, and to training questions as models without them answer."""
    evidence, outcomes = _mixed(ranking, data, "validation")
    observed = [_Observed(evidence.features, outcomes, _groups(data, data.dataset.queries("validation"))), *folds]
    return fit_policy(
        np.concatenate([each.features for each in observed]),
        Outcomes(*(np.concatenate([getattr(each.outcomes, name) for each in observed]) for name in _OUTCOMES)),
        np.concatenate([each.groups for each in observed]),
    )


def _observe_fold_stage(
    settings: SteeringSettings, run: RunDirectory, data: Data, name: str, model: str, fold: int
) -> _Observed:
    """Return the questions of one fold of the training part, as a model of the first seed without them answers."""
    without, seed = data.without_fold(fold, settings.folds), settings.seeds[0]
    train_predictor_stage(settings, run, without, model, seed)  # a stage of its own, whose time is not that of asking

    def compute(folder: Path) -> None:
        ranking = _ranking(settings, run, without, model, seed, with_words=name == DEFAULT_WITH_BM25)
        evidence, outcomes = _mixed(ranking, without, "test")
        arrays = {field: getattr(outcomes, field) for field in _OUTCOMES}
        groups = _groups(data, without.dataset.queries("test"))
        np.savez(folder / "observed.npz", features=evidence.features, groups=groups, **arrays)

    folder = run.stage(Stage.EVIDENCE, compute, f"{name}-{data.name}-fold{fold}")
    with np.load(folder / "observed.npz", allow_pickle=False) as file:
        return _Observed(file["features"], Outcomes(*(file[field] for field in _OUTCOMES)), file["groups"])


_OUTCOMES = tuple(field.name for field in fields(Outcomes))


def _function(model: JEPAModel, data: Data, name: str) -> PredictFunction:
    if name == ROUTED:
        return routed_predictions(model)
    of_categories = torch.from_numpy(np.array(data.dataset.centroids))
    centroids = model.embed_index(of_categories, torch.arange(len(of_categories))).numpy()
    return plain_predictions(model, centroids[:, : of_categories.shape[1]])


def _mixed(ranking: _Ranking, data: Data, split: Split) -> tuple[Evidence, Outcomes]:
    """Return all questions of a split, once under each of the mixed modes."""
    ids = data.dataset.queries(split)
    asked = [data.ask(split, mode).steering for mode in MIXED]
    steered = Steering(
        np.concatenate([each.vectors for each in asked]), np.concatenate([each.has_steering for each in asked])
    )
    evidence = gather_evidence(
        ranking.predict,
        ranking.index,
        np.tile(data.dataset.questions[ids], (len(MIXED), 1)),
        steered.vectors,
        steered.has_steering,
        added=None if ranking.words is None else method_scores(ranking.words, np.tile(ids, len(MIXED)), steered),
    )
    return evidence, judge(evidence, ranking.index, data.dataset.relevant(ids) * len(MIXED))


def _groups(data: Data, ids: Ids) -> Ids:
    """Return the component of each row of `_mixed` for questions with these ids."""
    return np.tile(data.groups(ids), len(MIXED))


def _calibration(policy: AnswerPolicy, ranking: _Ranking, data: Data) -> dict[str, Any]:
    evidence, outcomes = _mixed(ranking, data, "test")
    ids = data.dataset.queries("test")
    groups, asked = _groups(data, ids), np.tile(ids, len(MIXED))
    decisions = policy.decide(evidence.features)
    bins = reliability(decisions.confidence, outcomes.first_right)
    risk = risk_coverage(decisions.confidence, outcomes.first_right)
    return {
        "calibration_error": bins.error,
        "error_by_chance_at_least": float(calibration_error_by_chance(decisions.confidence).mean()),
        "error_by_chance_at_most": float(calibration_error_by_chance(decisions.confidence, asked).mean()),
        "brier": float(brier_score_loss(outcomes.first_right, decisions.confidence)),
        "area_under_risk": risk.area,
        "surest_tenth": risk.accuracy_at(0.1),
        "stated": bins.stated.tolist(),
        "observed": bins.observed.tolist(),
        "trust_threshold": policy.trust.value,
        "signals": [_nan_free(asdict(row)) for row in report_signals(decisions.signals, outcomes)],
        "trusted_right": outcomes.first_right[_trusted(decisions.signals)].astype(int).tolist(),
        "trusted_groups": groups[_trusted(decisions.signals)].tolist(),
        "questions": len(evidence),
        "influence_agreement": _finite(influence_agreement(evidence)),
    }


def _trusted(signals: tuple[ActionableSignal, ...]) -> np.ndarray:
    return np.array([signal is ActionableSignal.TRUST for signal in signals], dtype=bool)


def _steering_strength(predict: PredictFunction, index: SourceIndex, data: Data, seed: int) -> dict[str, Any]:
    """Follow the given categories with several strengths, and others in their place."""
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


def _faithfulness(ranking: _Ranking, data: Data, seed: int) -> dict[str, float | list[float]]:
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
        found |= {field: _finite(np.nanmean(getattr(result, field))) for field in names}
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


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _nan_free(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}
