"""The report of the experiment with steered predictors: tables, figures and sentences on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from experiments.steering.cross_encoder import cross_encoder_seconds
from experiments.steering.data import FILTERED, MODES
from experiments.steering.distillation import DISTILLED_WITH_BM25, distilled_methods
from experiments.steering.explaining import FORCED, STRENGTHS
from experiments.steering.findings import (
    COSINE,
    SOFT_FILTER,
    STEERED_ADAPTER,
    UNSTEERED_ADAPTER,
    DataFindings,
)
from experiments.steering.methods import (
    DEFAULT,
    DEFAULT_WITH_BM25,
    DEFAULT_WITH_TUNING,
    FUSED,
    METRICS,
    PLAIN,
    PREDICTORS,
    RESIDUAL,
    ROUTED,
    SCORER,
    TUNED_DEFAULT_WITH_BM25,
    training_seconds,
)
from experiments.steering.overview import overview_section
from experiments.steering.plots import reliability_diagram, steering_strength_curve
from experiments.steering.stages import Stage
from experiments.steering.tuned_encoder import tuned_methods
from lab.figures import save_figure
from lab.report import Report, Section
from lab.run import RunDirectory, slug
from sightline.agents import Table
from sightline.agents.evaluation import resampled_by, show_interval
from sightline.jepa.explaining import ActionableSignal

_CALIBRATION = {
    "calibration_error": "ECE",
    "error_by_chance_at_least": "ECE by chance, at least",
    "error_by_chance_at_most": "ECE by chance, at most",
    "brier": "Brier",
    "area_under_risk": "AURC",
    "surest_tenth": "right among the surest tenth",
    "influence_agreement": "influence ~ rank change",
}
TITLE = "Does a learned predictor use steering better than simple baselines, and do its explanations tell the truth?"


def write_report(run: RunDirectory, findings: Sequence[DataFindings]) -> Report:
    """Return the report; its figures are written into the run's `plots` now."""
    tables = [
        table
        for found in findings
        for table in (methods_table(found), *scorer_tables(found), ablation_table(found), claims_table(found))
    ]
    overview = overview_section(run.path / "plots", findings)
    tables = [*overview.tables, *tables]
    sections = [overview, *(section for found in findings for section in _sections(run, found))]
    return Report(
        TITLE, [answer(findings), *(str(claim) for found in findings for claim in found.claims())], tables, sections
    )


def answer(findings: Sequence[DataFindings]) -> str:
    """Return which models meet the aims of ranking on every data set, and how often validation prefers the default."""
    good = [
        name for name in findings[0].scores.ranked if all(name in found.models_that_meet_the_aims for found in findings)
    ]
    models = ", ".join(f"the {name}" for name in good) if good else "no model"
    preferred = [found.preferred(mode) == found.default for found in findings for mode in MODES]
    return (
        f"Every aim of ranking is met on {', '.join(found.data.name for found in findings)} by {models}. Of "
        f"{len(preferred)} pairs of data and steering, validation prefers the {findings[0].default} in "
        f"{sum(preferred)}; the first table names the best of each."
    )


def claims_table(found: DataFindings) -> Table:
    """Return every aim, as met or not met."""
    return Table(
        columns=("method", "outcome", "aim", "found"),
        rows=tuple(
            (claim.method, "met" if claim.met else "not met", claim.aim, claim.found) for claim in found.claims()
        ),
        caption=f"{found.data.name}: the aims, which were set before. Brackets hold 95 % bootstrap intervals over "
        "clusters of test questions that share a source or a text, and over training seeds, each method apart.",
    )


def rivals_table(found: DataFindings) -> Table:
    """Return the predictors against the strongest simple methods, pair by pair."""
    rivals = (
        ("category", STEERED_ADAPTER, "category"),
        ("category", UNSTEERED_ADAPTER, "filter, category"),
        ("category", SOFT_FILTER, "category"),
        ("unreliable", UNSTEERED_ADAPTER, "filter, unreliable"),
        ("unreliable", SOFT_FILTER, "unreliable"),
        ("unreliable", "BM25", "filter, unreliable"),
        ("keywords", SOFT_FILTER, "keywords"),
        ("keywords", STEERED_ADAPTER, "keywords"),
        ("none", UNSTEERED_ADAPTER, "none"),
        ("none", "BM25", "none"),
    )
    rows = []
    for mode, rival, rival_mode in rivals:
        for predictor in found.scores.ranked:
            difference = found.difference(predictor, mode, rival, rival_mode)
            shown = show_interval(difference, "+.3f")
            rows.append((predictor, mode, f"{rival}, {rival_mode}", shown, difference.resampled))
    return Table(
        columns=("method", "steering", "against", "difference in MRR", "resampled"),
        rows=tuple(rows),
        caption=f"{found.data.name}: 95 % bootstrap intervals of paired differences, as above.",
    )


def scorer_tables(found: DataFindings) -> tuple[Table, ...]:
    """Return the scorer, the defaults with BM25, and what is distilled, minus their rivals under every steering."""
    rivals = (SOFT_FILTER, ROUTED, PLAIN, COSINE, UNSTEERED_ADAPTER, STEERED_ADAPTER)
    distilled = distilled_methods(found.settings)
    tuned = (*tuned_methods(found.settings), TUNED_DEFAULT_WITH_BM25, DEFAULT_WITH_TUNING) if found.scores.tuned else ()
    fused = (SCORER, "BM25", *FUSED, *rivals, *tuned, *distilled)
    taught = (DEFAULT, DEFAULT_WITH_BM25, SOFT_FILTER, *FUSED, *distilled)
    tables = [_compared(found, SCORER, rivals, RESIDUAL), _compared(found, DEFAULT_WITH_BM25, fused, None)]
    if tuned:
        tables.append(_compared(found, DEFAULT_WITH_TUNING, (DEFAULT_WITH_BM25, *fused), None))
    if distilled:
        tables.append(_compared(found, DISTILLED_WITH_BM25, taught, None))
    return tuple(tables)


def _compared(found: DataFindings, base: str, rivals: Sequence[str], extended: str | None) -> Table:
    """Return a method minus rivals and minus the best other one, and what an extension of it adds."""
    differences = {
        f"minus {rival}": [found.difference(base, mode, rival, mode) for mode in MODES]
        for rival in rivals
        if rival != base
    }
    if extended is not None:
        differences[f"{extended}, minus it"] = [found.difference(extended, mode, base, mode) for mode in MODES]
    means = [found.interval(base, mode) for mode in MODES]
    best = [found.best_other(base, mode) for mode in MODES]
    return Table(
        columns=(f"MRR of the {base}", *map(found.data.label_of, MODES), "resampled"),
        rows=(
            ("itself", *(show_interval(each, ".3f") for each in means), resampled_by(means)),
            *(
                (name, *(show_interval(each, "+.3f") for each in row), resampled_by(row))
                for name, row in differences.items()
            ),
            (
                "minus the best other method on test",
                *(f"{show_interval(gain, '+.3f')} {name}" for name, gain in best),
                resampled_by([gain for _, gain in best]),
            ),
        ),
        caption=f"{found.data.name}: paired on the same {len(found.scores.groups):,} test questions, 95 % bootstrap "
        "intervals. The best of many on test is flattered; it may search behind a hard filter.",
    )


def ablation_table(found: DataFindings) -> Table:
    """Return what each part of the objective is worth to the plain predictor, under every kind of steering."""
    rows = []
    for name in (each for each in found.scores.values if each.startswith(f"{PLAIN}, ")):
        differences = [found.difference(name, mode, PLAIN, mode) for mode in MODES]
        shown = (show_interval(each, "+.3f") for each in differences)
        rows.append((name.removeprefix(f"{PLAIN}, "), *shown, resampled_by(differences)))
    means = [found.interval(PLAIN, mode) for mode in MODES]
    return Table(
        columns=("MRR of the predictor", *map(found.data.label_of, MODES), "resampled"),
        rows=(("InfoNCE alone", *(show_interval(each, ".3f") for each in means), resampled_by(means)), *rows),
        caption=f"{found.data.name}: below the first row, differences from it, paired on the same test questions; "
        "95 % bootstrap intervals, training seeds drawn on each side apart.",
    )


def methods_table(found: DataFindings) -> Table:
    """Return how every method ranks the test questions' sources under every mode."""
    rows = []
    for mode in (*MODES, *FILTERED):
        for name in found.scores.values:
            intervals = [found.interval(name, mode, metric) for metric in METRICS]
            shown = (show_interval(each, ".3f") for each in intervals)
            rows.append((name, found.data.label_of(mode), *shown, resampled_by(intervals)))
    return Table(
        columns=("method", "steering", "MRR", "nDCG@10", "R@10", "resampled"),
        rows=tuple(rows),
        caption=f"{found.data.name}: {len(found.scores.groups):,} test questions in "
        f"{len(np.unique(found.scores.groups)):,} groups, {len(found.data.dataset.sources):,} sources, "
        f"{len(found.settings.seeds)} training seeds; no source of a test question is in a training pair. "
        f"Unreliable: {found.settings.unreliable_share:.0%} of categories wrong or missing. Filter: only sources of "
        "the given category are searched, whatever it is. Brackets hold 95 % bootstrap intervals; the last column says "
        "what they allow for.",
    )


def _sections(run: RunDirectory, found: DataFindings) -> list[Section]:
    name = found.data.name
    sections = [
        Section(f"{name}: aims", (found.recommendation(),), (claims_table(found),)),
        Section(f"{name}: ranking", (), (*scorer_tables(found), methods_table(found), rivals_table(found))),
        Section(f"{name}: what each part of the objective is worth", (), (ablation_table(found),)),
    ]
    if found.data.counterfactual.any():
        sections.append(_counterfactual_section(found))
    sections += [
        _steering_strength_section(run.path / "plots", found),
        _confidence_section(run.path / "plots", found),
        _faithfulness_section(found),
        _training_section(run, found),
        _cards_section(run, found),
    ]
    return [replace(section, folded=True) for section in sections]


def _counterfactual_section(found: DataFindings) -> Section:
    rows = found.data.counterfactual
    table = Table(
        columns=("method", *(f"MRR, {mode}" for mode in MODES)),
        rows=tuple(
            (name, *(f"{found.scores.of(name, mode)[:, rows].mean():.3f}" for mode in MODES))
            for name in (COSINE, STEERED_ADAPTER, *found.scores.ranked)
        ),
        caption=f"{int(rows.sum())} test questions; means over seeds, without intervals.",
    )
    sentence = "Questions whose very words are asked under several categories, each with answers of its own."
    return Section(f"{found.data.name}: same question, other steering", (sentence,), (table,))


def _steering_strength_section(plots: Path, found: DataFindings) -> Section:
    figures, rows = [], []
    for predictor in PREDICTORS:
        curves = {
            which: {
                key: np.mean([row["obedience"][which][key] for row in found.explained[predictor]], axis=0)
                for key in ("share", "mrr")
            }
            for which in ("true", "changed")
        }
        file = plots / f"steering-strength-{found.data.name}-{slug(predictor)}.svg"
        figures.append(save_figure(steering_strength_curve(STRENGTHS, curves), file))
        rows += [
            (predictor, f"{setting:g}", *(f"{curves[w][k][at]:.3f}" for w in curves for k in ("share", "mrr")))
            for at, setting in enumerate(STRENGTHS)
        ]
    table = Table(
        columns=("method", "steering strength", "share, true", "MRR, true", "share, changed", "MRR, changed"),
        rows=tuple(rows),
        caption="Share: of the first ten results, from the subspace steered to. Changed: every question is steered to "
        "another category, drawn at random. Means over seeds; 1 is as trained.",
    )
    sentence = f"Predictors in the order {', '.join(PREDICTORS)}."
    return Section(f"{found.data.name}: the steering strength", (sentence,), (table,), tuple(figures))


def _confidence_section(plots: Path, found: DataFindings) -> Section:
    figures, rows, signal_rows, precisions = [], [], [], []
    for predictor in found.scores.ranked:
        explained = found.explained[predictor]
        bins = [(row["stated"], row["observed"]) for row in explained]
        file = plots / f"calibration-{found.data.name}-{slug(predictor)}.svg"
        figures.append(save_figure(reliability_diagram(bins), file))
        precision, coverage = found.trusted(predictor)
        precisions.append(precision)
        values = (_number(float(found.mean_explained(predictor, key))) for key in _CALIBRATION)
        rows.append((predictor, *values, show_interval(precision, ".3f"), f"{coverage:.1%}"))
        for at, signal in enumerate(ActionableSignal):
            signals = [row["signals"][at] for row in explained]
            count = sum(row["count"] for row in signals)
            right = [sum((row[key] or 0) * row["count"] for row in signals) for key in ("first_right", "among_results")]
            shares = (f"{value / count:.1%}" if count else "n/a" for value in right)
            signal_rows.append((predictor, signal.value, f"{np.mean([row['share'] for row in signals]):.1%}", *shares))
    tables = (
        Table(
            ("method", *_CALIBRATION.values(), "TRUST right", "trusted"),
            tuple(rows),
            "Every test question without steering, with its category and with unreliable steering; fitted on the "
            "validation questions, and on training questions by predictors that had not seen them. ECE over 15 bins of "
            "equal mass; means over seeds. TRUST is given where these questions certify the promise, with 95 % "
            "confidence; the surest tenth is no promise. Brackets hold 95 % intervals; resampled: "
            f"{resampled_by(precisions)}.",
        ),
        _calibration_table(found),
        Table(("method", "signal", "of all questions", "first is right", "right among ten"), tuple(signal_rows)),
    )
    return Section(f"{found.data.name}: confidence and signals", (), tables, tuple(figures))


def _calibration_table(found: DataFindings) -> Table:
    """Return the calibration of all questions, which are many times those of the test part."""
    keys, settings = tuple(_CALIBRATION)[:3], found.settings
    return Table(
        ("method", *(_CALIBRATION[key] for key in keys)),
        tuple(
            (name, *(_number(float(found.mean_explained(name, key, "of_all"))) for key in keys))
            for name in found.scores.ranked
        ),
        "The same of all questions, each answered by a model that had not seen it, with a probability from the other "
        f"parts. Parts: the test questions, those of validation, and {settings.folds} of training, or "
        f"{settings.tuning.folds} for a tuned encoder. The fewer questions, the larger an error is by chance.",
    )


def _faithfulness_section(found: DataFindings) -> Section:
    def of(*keys: str) -> str:
        means = [np.atleast_1d(found.mean_explained(ROUTED, key, "faithfulness")) for key in keys]
        return ", ".join(map(_number, np.concatenate(means)))

    moved = ", ".join(f"{weight:g}" for weight in FORCED)
    rows = (
        (f"share of top 10 from the true subspace, forced with {moved} of the weight", of("force_true_share")),
        ("MRR, the same", of("force_true_mrr")),
        (f"share of top 10 from another subspace, forced with {moved} of the weight", of("force_other_share")),
        ("MRR, the same", of("force_other_mrr")),
        ("MRR of full, coarse alone, fine alone", of("full", "coarse_only", "fine_only")),
        ("first result kept by coarse alone, by fine alone", of("first_kept_by_coarse", "first_kept_by_fine")),
        ("top 10 kept with the largest weight only, with a random one", of("sufficiency", "sufficiency_random")),
        (
            "top 10 lost without the largest weight, without a random one",
            of("comprehensiveness", "comprehensiveness_random"),
        ),
        ("randomised router: same primary subspace", of("same_primary")),
        ("randomised router: rank correlation of weights", of("correlation")),
        ("randomised router: top 10 in common", of("overlap")),
    )
    shares = found.mean_explained(ROUTED, "force_other_share", "faithfulness")
    sentence = (
        f"Forcing another subspace moves {shares[-1] - shares[0]:+.1%} of the first ten results into it: as many as "
        "the routing decides. Where this is little, the routing describes results but does not cause them."
    )
    table = Table(("intervention on the routed predictor", "found"), rows, "Given steering; means over seeds.")
    return Section(f"{found.data.name}: does the routing explain the results?", (sentence,), (table,))


def _training_section(run: RunDirectory, found: DataFindings) -> Section:
    rows = [
        (name, str(seed), f"{training_seconds(run, name, found.data.name, seed):.1f}")
        for name in (*PREDICTORS, RESIDUAL)
        for seed in found.settings.seeds
    ]
    caption = f"Wall time on {found.settings.threads} threads, with validation after every epoch."
    table = Table(("method", "seed", "seconds"), tuple(rows), caption)
    return Section(f"{found.data.name}: training", cost_of_distillation(run, found), (table,))


def cost_of_distillation(run: RunDirectory, found: DataFindings) -> tuple[str, ...]:
    """Return a sentence on the time that a cross-encoder took, a mean over its seeds; none where there is none."""
    if not distilled_methods(found.settings):
        return ()
    seeds = found.settings.seeds[: found.settings.distillation.seeds]
    spent = np.mean([cross_encoder_seconds(run, found.data.label, seed) for seed in seeds], axis=0)
    return (f"A cross-encoder took {spent[0]:.0f} CPU seconds to tune, and its scores {spent[1]:.0f}.",)


def _cards_section(run: RunDirectory, found: DataFindings) -> Section:
    pattern = f"stages/{Stage.EXPLANATIONS}-*-{found.data.name}-*/card-*.html"
    files = sorted(file.relative_to(run.path) for file in run.path.glob(pattern))
    links = {file.stem.replace("card-", "card "): quote(file.as_posix()) for file in files}
    return Section(f"{found.data.name}: some explanations", (), links=links)


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "n/a"
