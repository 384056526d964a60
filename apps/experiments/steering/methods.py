"""What is compared: baselines and models, trained once per seed and scored on the test questions in every mode."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.steering.cross_encoder import lessons_stages
from experiments.steering.data import FILTERED, MODES, Data
from experiments.steering.distillation import distilled_method, distilled_methods
from experiments.steering.settings import DataName, SteeringSettings
from experiments.steering.stages import Stage
from experiments.steering.tuned_encoder import (
    TUNED,
    choose_encoders,
    tuned_data,
    tuned_method,
    tuned_methods,
    with_additions,
)
from lab.run import RunDirectory, write_metrics
from sightline.jepa import (
    JEPAConfig,
    JEPAModel,
    SourceIndex,
    Steering,
    SteeringDataset,
    Trainer,
    evaluate,
    fit_adapter,
    mine_negatives,
)
from sightline.jepa.baselines import BASELINES, softly_filtered
from sightline.jepa.data import Ids, Split, SteeringKind
from sightline.jepa.explaining import index_for
from sightline.jepa.ranking import LexicalIndex, Method, QueryMetrics, fit_lexical_index, with_bm25

SCORER, PLAIN, ROUTED = "scorer", "predictor", "routed predictor"
PREDICTORS = (SCORER, PLAIN, ROUTED)
RESIDUAL = "scorer with residual"
STAGED, DEFAULT = "scorer in two stages", "default"
"""The scorer in two stages ranks as the adapter with a soft filter does, so that it has no row of its own. The default
is what a `Trainer` keeps if nothing is said: the one or the other, as validation prefers."""
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "regression alone": {"loss": {"info_nce": 0.0, "regression": 1.0}},
    "with regression": {"loss": {"regression": 1.0}},
    "with centroids": {"loss": {"centroid": 0.1}},
    "with VICReg": {"loss": {"vicreg": 0.1}},
    "with SIGReg": {"loss": {"sigreg": 0.02}},
    "in a projection with EMA target": {"target": "projection"},
    "regression first": {"loss": {"regression_epochs": 3}},
    "balanced batches": {"training": {"batches": "balanced"}},
}
"""Changes of the plain predictor's configuration, whose objective is InfoNCE alone."""
METRICS = ("reciprocal_rank", "ndcg_at_10", "recall_at_10")
"""Fields of `QueryMetrics` that are reported."""

_ADAPTERS: Mapping[str, tuple[SteeringKind, float]] = {
    "adapter, unsteered": ("none", 0.0),
    "adapter, steered": ("category", 0.0),
    "adapter, steered half the time": ("category", 0.5),
}
"""The adapters: what steers them in training, and the share for which it is withheld."""
_UNSTEERED, _SOFT = "adapter, unsteered", "adapter, soft filter"
_RANKS_AS: Mapping[str, str] = {SCORER: SCORER, STAGED: _SOFT}
"""What the default may be, and the method whose scores it has."""
_TRAINER_MODES = ("none", "category", "unreliable")

_WITH_BM25 = " with BM25"
DEFAULT_WITH_BM25 = DEFAULT + _WITH_BM25
FUSED: Mapping[str, str] = {method + _WITH_BM25: method for method in (SCORER, _SOFT)}
"""Methods to whose scores BM25's are added, with a weight that validation may leave at zero; and what they add to."""
TUNED_DEFAULT = f"{TUNED}, {DEFAULT}"
"""The default on vectors of the tuned encoder."""
TUNED_DEFAULT_WITH_BM25 = TUNED_DEFAULT + _WITH_BM25
DEFAULT_WITH_TUNING = f"{DEFAULT} with tuning and BM25"
"""What the command `train` of the package makes: the default on vectors of the tuned encoder or of the untuned one,
with BM25, as validation prefers."""
RANKED = (*PREDICTORS, DEFAULT_WITH_BM25)
"""What is explained, and held to the aims; the last is what an `Answerer` ranks by if its encoder stays as it is."""


def trained_models(settings: SteeringSettings) -> tuple[str, ...]:
    """Return the names of all models that a run trains."""
    return (*PREDICTORS, RESIDUAL, *(f"{PLAIN}, {name}" for name in (ABLATIONS if settings.ablation_seeds else ())))


@dataclass(frozen=True)
class Scores:
    """Every method on the test questions of one data set, once per training seed."""

    values: Mapping[str, Mapping[str, Mapping[str, NDArray[np.float64]]]]
    """Method -> mode -> metric -> `[seeds, q]` float64; one row where nothing depends on the seed."""
    validation: Mapping[str, Mapping[str, float]]
    """Method -> mode -> MRR of the validation questions, a mean over the seeds."""
    groups: Ids
    """`[q]` int64, questions that depend on each other."""
    kept: Sequence[str]
    """What the default is with each training seed: the scorer, trained jointly or in two stages."""
    tuned: Sequence[bool] = ()
    """Whether the default with tuning has the tuned encoder, with each seed of the tuning."""

    @property
    def ranked(self) -> tuple[str, ...]:
        """What is explained, and held to the aims, with the tuned default where an encoder was tuned."""
        return (*RANKED, DEFAULT_WITH_TUNING) if self.tuned else RANKED

    def of(self, method: str, mode: str, metric: str = "reciprocal_rank") -> NDArray[np.float64]:
        """`[seeds, q]`."""
        return self.values[method][mode][metric]


def score_methods_stages(settings: SteeringSettings, run: RunDirectory, data: Data) -> Scores:
    """Fit and score all methods on a data set, each in a stage of its own."""
    settled: dict[str, Mapping[str, float]] = {}  # what the first seed's validation chose for an adapter, for all seeds

    models = trained_models(settings)

    @cache
    def unsteered(seed: int) -> Method:
        return _adapter(settings, data.dataset, _UNSTEERED, seed, settled.get(_UNSTEERED))

    @cache
    def words() -> LexicalIndex:
        return fit_lexical_index(data.dataset)

    def fitted(name: str, seed: int) -> Method:
        if name in FUSED:
            method = fitted(FUSED[name], seed)
            return with_bm25(method, words(), data.dataset, unreliable_share=settings.unreliable_share)
        if name in models:
            model = open_model(settings, run, data, name, seed)
            return model_method(name, model, index_for(model, data.dataset), data)
        if name == _SOFT:
            return softly_filtered(unsteered(seed), data.dataset, unreliable_share=settings.unreliable_share)
        if name == _UNSTEERED:
            return unsteered(seed)
        if name in _ADAPTERS:
            return _adapter(settings, data.dataset, name, seed, settled.get(name))
        return BASELINES[name](data.dataset, seed)

    found: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for name in (*BASELINES, *models, *FUSED):
        seeds = _seeds_of(settings, name, models)
        rows = []
        for seed in seeds:
            if name in models:  # a stage of its own, so that its time is that of training alone
                train_predictor_stage(settings, run, data, name, seed)
            row, chosen = _score_stage(run, data, name, seed, partial(fitted, name, seed))
            rows.append(row)
            settled.setdefault(name, chosen)
        found[name] = rows
    kept = add_default(found)
    found |= score_tuned_stages(settings, run, data, words)
    tuned_rows = found.get(TUNED_DEFAULT_WITH_BM25, [])
    found[DEFAULT_WITH_TUNING], tuned = choose_encoders(found[DEFAULT_WITH_BM25], tuned_rows)
    found |= score_distilled_stages(settings, run, data, words, unsteered)
    return _collected(found, data.groups(data.dataset.queries("test")), kept, tuned)


def add_default(found: dict[str, list[dict[str, NDArray[np.float64]]]]) -> list[str]:
    """Add the rows of the default to those of the methods that it may rank as, and return what it is with each seed.

    A `Trainer` keeps two stages where their mean over its modes of validation is above that of joint training.

    Args:
        found: method -> one row for each training seed, as `_score_stage` returns them.
    """
    kept = []
    for rows in zip(found[SCORER], found[_SOFT], strict=True):
        joint, staged = (sum(float(row[f"validation/{mode}"]) for mode in _TRAINER_MODES) for row in rows)
        kept.append(STAGED if staged > joint else SCORER)
    for added in ("", _WITH_BM25):
        found[DEFAULT + added] = [found[_RANKS_AS[model] + added][place] for place, model in enumerate(kept)]
    return kept


def score_tuned_stages(
    settings: SteeringSettings, run: RunDirectory, data: Data, words: Callable[[], LexicalIndex]
) -> dict[str, list[dict[str, NDArray[np.float64]]]]:
    """Score what ranks by a tuned encoder, each method in a stage of its own.

    Args:
        settings: settings of the run.
        run: folder of the run.
        data: data set.
        words: function to the index of the sources' words.

    Returns:
        Method -> one row for each seed of the tuning, as `_score_stage` returns them; nothing without tuning.
    """

    def fit_default(tuned: Data, seed: int) -> Method:
        model = open_model(settings, run, tuned, TUNED_DEFAULT, seed)
        method = model_method(TUNED_DEFAULT, model, index_for(model, tuned.dataset), tuned)
        return with_bm25(method, words(), tuned.dataset, unreliable_share=settings.unreliable_share)

    names = tuned_methods(settings)
    found: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for seed in settings.seeds[: settings.tuning.seeds] if names else ():
        tuned = tuned_data(settings, run, data, seed)  # stages of their own, as above
        train_predictor_stage(settings, run, tuned, TUNED_DEFAULT, seed)
        for name in names:
            fit = partial(tuned_method, settings, run, data, name, seed, words)
            found.setdefault(name, []).append(_score_stage(run, data, name, seed, fit)[0])
        row, _ = _score_stage(run, tuned, TUNED_DEFAULT_WITH_BM25, seed, partial(fit_default, tuned, seed))
        found.setdefault(TUNED_DEFAULT_WITH_BM25, []).append(row)
    return found


def score_distilled_stages(
    settings: SteeringSettings,
    run: RunDirectory,
    data: Data,
    words: Callable[[], LexicalIndex],
    unsteered: Callable[[int], Method],
) -> dict[str, list[dict[str, NDArray[np.float64]]]]:
    """Score what a cross-encoder ranks or has taught, each method in a stage of its own.

    Args:
        settings: settings of the run.
        run: folder of the run.
        data: data set.
        words: function to the index of the sources' words.
        unsteered: function from a seed to its adapter, trained without steering.

    Returns:
        Method -> one row for each seed of the cross-encoder, as `_score_stage` returns them; nothing without one.
    """

    @cache
    def base(seed: int, name: str) -> Method:
        return distilled_method(settings, run, data, name, seed, unsteered)

    def fit(name: str, seed: int) -> Method:
        return with_additions(name, partial(base, seed), data.dataset, words, settings.unreliable_share)

    found: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for name in distilled_methods(settings):
        for seed in settings.seeds[: settings.distillation.seeds]:
            lessons_stages(settings, run, data, seed, partial(unsteered, seed))  # stages of their own, as above
            found.setdefault(name, []).append(_score_stage(run, data, name, seed, partial(fit, name, seed))[0])
    return found


def _seeds_of(settings: SteeringSettings, name: str, models: Sequence[str]) -> tuple[int, ...]:
    """Return the training seeds of a method; the first for what does not depend on any."""
    if name.startswith(f"{PLAIN}, "):
        return settings.seeds[: settings.ablation_seeds]
    return settings.seeds if name in (*_ADAPTERS, _SOFT, *models, *FUSED) else settings.seeds[:1]


def _collected(
    found: Mapping[str, Sequence[Mapping[str, NDArray[np.float64]]]],
    groups: Ids,
    kept: Sequence[str],
    tuned: Sequence[bool],
) -> Scores:
    """Return what was found by method, mode and metric, of methods that have rows, one for each seed."""
    modes, found = (*MODES, *FILTERED), {name: rows for name, rows in found.items() if rows}
    values = {
        name: {
            mode: {metric: np.stack([row[f"{mode}/{metric}"] for row in rows]) for metric in METRICS} for mode in modes
        }
        for name, rows in found.items()
    }
    validation = {
        name: {mode: float(np.mean([row[f"validation/{mode}"] for row in rows])) for mode in modes}
        for name, rows in found.items()
    }
    return Scores(values, validation, groups, kept, tuned)


def _adapter(
    settings: SteeringSettings, dataset: SteeringDataset, name: str, seed: int, chosen: Mapping[str, float] | None
) -> Method:
    """Return one adapter, with the setting an earlier seed has settled on, or the best on validation of several."""
    kind, withheld = _ADAPTERS[name]
    return fit_adapter(dataset, seed, kind=kind, withheld=withheld, grid=settings.adapter_grid(chosen))


def train_predictor_stage(settings: SteeringSettings, run: RunDirectory, data: Data, name: str, seed: int) -> Path:
    """Train one model; a killed run goes on after its last checkpoint.

    Returns:
        The folder of its stage, with `model` and `metrics.jsonl` in it.
    """
    variant = _training(name, data.label, seed)

    def compute(folder: Path) -> None:
        config = configuration(settings, run, data, name, seed)
        work = run.work_folder(Stage.TRAINING, variant)
        negatives = None
        if config.loss.num_negatives:
            negatives = mine_negatives(data.dataset, config.loss.num_negatives, seed).ids
        try:
            trainer = Trainer.resume(work, data.dataset, negatives=negatives)
        except FileNotFoundError:
            trainer = Trainer(config, data.dataset, folder=work, negatives=negatives)
        result = trainer.fit()
        trainer.model.save_pretrained(folder / "model")
        shutil.copyfile(work / "history.jsonl", folder / "history.jsonl")
        rows = [
            {"data": data.label, "method": name, "seed": seed, "epoch": record.epoch, "score": record.score}
            | {f"validation_{mode}": value for mode, value in record.validation.items()}
            for record in result.history
        ]
        write_metrics(folder, rows)

    return run.stage(Stage.TRAINING, compute, variant)


def _training(name: str, data_label: str, seed: int) -> str:
    return f"{name}-{data_label}-seed{seed}"


def configuration(settings: SteeringSettings, run: RunDirectory, data: Data, name: str, seed: int) -> JEPAConfig:
    """Return the configuration of a model for this data set and seed."""
    ablated = {f"{PLAIN}, {change}": values for change, values in ABLATIONS.items()}
    base = SCORER if name in (RESIDUAL, STAGED, TUNED_DEFAULT) else PLAIN if name in ablated else name
    filters = {STAGED: "staged", TUNED_DEFAULT: "auto"}
    config = {SCORER: settings.scorer, PLAIN: settings.plain, ROUTED: settings.routed}[base]
    negatives = settings.negatives
    if (name, seed, data.fold) != (base, settings.seeds[0], None):
        # Chosen once, with the first seed on the whole data, so that rows differ in what their names say alone.
        first = run.stage_folder(Stage.TRAINING, _training(base, data.name, settings.seeds[0]))
        negatives = JEPAModel.from_pretrained(first / "model").config.loss.negatives
    changes: list[Mapping[str, Any]] = [
        {"predictor": {"dimension": data.dataset.sources.shape[1]}},
        {"loss": {"negatives": negatives}, "training": {"seed": seed}},
        {"scorer": {"residual": "plain" if name == RESIDUAL else "none"}},
        {"scorer": {"filter": filters.get(name, "joint")}},
        ablated.get(name, {}),
    ]
    values = config.model_dump()
    for section, new in (item for each in changes for item in each.items()):
        values[section] = values[section] | new if isinstance(new, Mapping) else new
    return JEPAConfig.model_validate(values)


def open_model(settings: SteeringSettings, run: RunDirectory, data: Data, name: str, seed: int) -> JEPAModel:
    """Return a trained model."""
    return JEPAModel.from_pretrained(train_predictor_stage(settings, run, data, name, seed) / "model")


def model_method(name: str, model: JEPAModel, index: SourceIndex, data: Data) -> Method:
    """Return a trained model, with the index of its sources, as a method."""

    def query_vectors(question_ids: Ids, steered: Steering) -> NDArray[np.float32]:
        questions = torch.from_numpy(np.array(data.dataset.questions[question_ids]))
        return model.predict(
            questions, torch.from_numpy(steered.vectors), torch.from_numpy(steered.has_steering)
        ).numpy()

    return Method(name, index.sources, query_vectors)


def _score_stage(
    run: RunDirectory, data: Data, name: str, seed: int, fit: Callable[[], Method]
) -> tuple[dict[str, NDArray[np.float64]], Mapping[str, float]]:
    """Return how one method scores under every mode, and the settings it chose.

    The scores are "mode/metric" -> `[q]` of the test questions, and "validation/mode" -> MRR of the validation's.
    """

    def compute(folder: Path) -> None:
        method = fit()
        found = {}
        for mode in (*MODES, *FILTERED):
            metrics = _evaluated(method, data, "test", mode)
            found |= {f"{mode}/{metric}": getattr(metrics, metric) for metric in METRICS}
            found[f"validation/{mode}"] = _evaluated(method, data, "validation", mode).reciprocal_rank.mean()
        np.savez(folder / "scores.npz", **found)
        write_metrics(folder, [{"data": data.name, "method": name, "seed": seed, "chosen": dict(method.settings)}])

    folder = run.stage(Stage.SCORES, compute, f"{name}-{data.name}-seed{seed}")
    settled = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8"))["chosen"]
    with np.load(folder / "scores.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}, settled


def _evaluated(method: Method, data: Data, split: Split, mode: str) -> QueryMetrics:
    asked = data.ask(split, FILTERED.get(mode, mode))
    only = asked.categories if mode in FILTERED else None
    return evaluate(method, data.dataset, data.dataset.queries(split), asked.steering, filter_categories=only)


def training_seconds(run: RunDirectory, name: str, data: DataName, seed: int) -> float:
    """Return the wall time of one training, without what a killed start of the run has spent on it."""
    return run.stage_seconds(Stage.TRAINING, _training(name, data, seed))
