"""The report of phase 2: its sections, each with its sentences, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from experiments.shopping.agents import TRAINED
from experiments.shopping.failures import failure_sections
from experiments.shopping.findings import CLAIMED_AGAINST, Findings, estimate_mean
from experiments.shopping.plots import recall_curves, success_against_tokens
from experiments.shopping.ranking import CUTOFFS
from experiments.shopping.stages import Stage
from lab.figures import bars_with_intervals, learning_curves, save_figure
from lab.report import Report, Section
from lab.run import RunDirectory, write_text
from sightline.agents import Table, summarise
from sightline.agents.evaluation import (
    VERDICT_RULE,
    DecisionRate,
    comparisons_table,
    cost_table,
    pareto_frontier,
    power_table,
    resampled_by,
    results_csv,
    results_table,
    show_interval,
)
from sightline.agents.grammar import ShopPage
from sightline.agents.state import NextActionMetrics

PREDICTORS = ("model_acc", "baseline_last_obs_acc", "majority_class_baseline")
"""What predicts the type of the expert's next action; names of fields of `NextActionMetrics`."""

_GOALS_PER_STEP = 10
_BOUND = "oracle_gated"
"""Knows the expert's target, so that it stands on no frontier."""


def write_report(run: RunDirectory, findings: Findings) -> Report:
    """Return the report; `results.csv`, and the figures in the run's `plots`, are written now."""
    write_text(run.path / "results.csv", results_csv(findings.summaries))
    plots = run.path / "plots"
    sections = [
        _agents_section(plots, findings),
        _step_recall_section(plots, findings),
        _retrieval_section(plots, findings),
        next_action_section(plots, findings.next_action),
        *([_ablation_section(plots, findings)] if findings.ablations else []),
        *failure_sections(findings),
        _cost_section(findings),
        _power_section(findings),
        _trajectory_section(run),
    ]
    tables = (results_table(findings.summaries), comparisons_table(findings.comparisons))
    return Report(
        "Does state-gated retrieval beat ReAct and query RAG in the shop?", findings.claims(), tables, sections
    )


def retrieval_table(findings: Findings) -> Table:
    """Return how the methods rank the expert's chunk."""
    seed = findings.seed
    return Table(
        columns=("method", "recall@1 %", "recall@5 %", "MRR", "nDCG@5", "resampled"),
        rows=tuple(
            (
                name,
                show_interval(estimate_mean(scores.recall[1], seed), ".1f", scale=100),
                show_interval(estimate_mean(scores.recall[5], seed), ".1f", scale=100),
                show_interval(estimate_mean(scores.reciprocal_rank, seed), ".3f"),
                show_interval(estimate_mean(scores.ndcg, seed), ".3f"),
                resampled_by([estimate_mean(scores.ndcg, seed)]),
            )
            for name, scores in findings.retrieval.items()
        ),
        caption="On the pages of held-out expert episodes; means over goals and training seeds with 95 % bootstrap "
        "intervals, of which the last column says what they allow for.",
    )


def agreement_table(rates: Mapping[str, Mapping[str, DecisionRate]]) -> Table:
    """Return how often agents did what was best, by kind of page; `rates` are those of `agreements`."""
    return _by_page_table(
        rates,
        tuple(ShopPage),
        "agreement",
        "How often what an agent did is best for one who knows the goal, on the pages that it came to; 95 % "
        "intervals, and the number of decisions.",
    )


def _agents_section(plots: Path, findings: Findings) -> Section:
    summaries = findings.summaries
    points = {
        summary.agent: (summary.prompt_tokens, summary.success_rate)
        for summary in summaries
        if summary.prompt_tokens is not None and summary.success_rate is not None
    }
    means = {name: (tokens.value, success.value) for name, (tokens, success) in points.items() if name != _BOUND}
    frontier = pareto_frontier(means)
    figure = save_figure(success_against_tokens(points, frontier), plots / "success_against_tokens.svg")
    bounds = () if findings.teachers is None else tuple(findings.teachers.sentences())
    sentence = (
        f"On the Pareto frontier, where no other agent succeeds as often with fewer tokens: {', '.join(frontier)}. It "
        f"goes by the means; {_BOUND} knows the expert's target and stands outside."
    )
    tables = (results_table(summaries), comparisons_table(findings.comparisons))
    return Section(
        "Agents on held-out goals",
        (*findings.claims()[1:], findings.share_of_tokens(), *bounds, sentence),
        tables,
        (figure,),
    )


def _power_section(findings: Findings) -> Section:
    comparisons = findings.comparisons
    goals = min(each.goals for each in comparisons if each.baseline in CLAIMED_AGAINST)
    tables = (power_table(goals, tests=comparisons[0].tests),) if goals else ()
    return Section("How the outcomes are told, and what this run could see", (VERDICT_RULE, *findings.power()), tables)


def _step_recall_section(plots: Path, findings: Findings) -> Section:
    curves = {
        agent: {
            step: recall.interval
            for step, recall in found.items()
            if recall.interval is not None and recall.goals >= _GOALS_PER_STEP
        }
        for agent, found in findings.recall_by_step.items()
    }
    figure = save_figure(recall_curves(curves, over="step of the episode"), plots / "recall_by_step.svg")
    kinds = (ShopPage.RESULTS, ShopPage.PRODUCT, ShopPage.DETAIL)
    recall = _by_page_table(
        findings.recall_by_page,
        kinds,
        "recall",
        "How often the chunk with the expert's target was among those read, on the pages that the agent itself came "
        "to; 95 % intervals, and the number of decisions.",
    )
    agreement = agreement_table(findings.agreement_by_page)
    sentence = (
        "Later steps are reached by fewer episodes, and mostly by those that went astray; the figure ends where fewer "
        f"than {_GOALS_PER_STEP} goals are left."
    )
    return Section("Was the needed chunk read, and what was best done?", (sentence,), (recall, agreement), (figure,))


def _by_page_table(
    rates: Mapping[str, Mapping[str, DecisionRate]], kinds: Sequence[ShopPage], what: str, caption: str
) -> Table:
    """Return rates of agents by kind of page."""
    rows = []
    for agent, found in rates.items():
        cells = [
            f"{show_interval(found[kind].interval, '.1f', scale=100)} ({found[kind].decisions:,})"
            if kind in found
            else "none"
            for kind in kinds
        ]
        rows.append((agent, *cells, resampled_by(rate.interval for rate in found.values())))
    columns = ("agent", *(f"{kind} pages: {what} %" for kind in kinds), "resampled")
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def _retrieval_section(plots: Path, findings: Findings) -> Section:
    curves = {
        name: {k: estimate_mean(scores.recall[k], findings.seed) for k in CUTOFFS}
        for name, scores in findings.retrieval.items()
    }
    sentences = tuple(
        f"Recall@5 of the trained retriever minus {name}: {show_interval(value, '+.1f', scale=100)} points "
        f"(95 % interval; resampled: {value.resampled})."
        for name, value in findings.recall_differences().items()
    )
    figure = save_figure(recall_curves(curves), plots / "recall.svg")
    tables = (retrieval_table(findings), *([findings.by_target] if findings.by_target else []))
    return Section("Finding the expert's chunk on the expert's pages", sentences, tables, (figure,))


def next_action_section(plots: Path, history: Sequence[NextActionMetrics]) -> Section:
    """Return what the state model knows of the next action, with a figure of its training in the folder `plots`."""
    best = max(history, key=lambda epoch: epoch.model_acc)
    table = Table(
        columns=("predictor of the next action's type", "accuracy, %"),
        rows=tuple((name, f"{100 * getattr(best, name):.1f}") for name in PREDICTORS),
        caption=f"On held-out episodes, at the best epoch ({best.epoch}).",
    )
    curves = {name: [getattr(epoch, name) for epoch in history] for name in PREDICTORS}
    figure = save_figure(learning_curves(curves, "accuracy on held-out episodes"), plots / "next_action.svg")
    return Section("What the state model knows of the next action", (), (table,), (figure,))


def _ablation_section(plots: Path, findings: Findings) -> Section:
    summaries = summarise(findings.ablations, seed=findings.seed)
    rates = {summary.agent: summary.success_rate for summary in summaries if summary.success_rate is not None}
    figure = save_figure(bars_with_intervals(rates, "success, % of development goals"), plots / "ablations.svg")
    sentence = "One change at a time to the trained agent, with one training seed, on goals that no final figure uses."
    return Section("Ablations", (sentence,), (results_table(summaries),), (figure,))


def _cost_section(findings: Findings) -> Section:
    table = cost_table(findings.episodes, seed=findings.seed, prices=findings.prices)
    return Section("What a success costs", (), (table,))


def _trajectory_section(run: RunDirectory) -> Section:
    files = sorted(file.relative_to(run.path) for file in run.path.glob(f"stages/{Stage.AGENT}-*/episodes.jsonl"))
    links = {file.parent.name.removeprefix(f"{Stage.AGENT}-"): quote(file.as_posix()) for file in files}
    trained = next((file for file in files if TRAINED in file.parent.name), None)
    commands: Mapping[str, str] = {}
    if trained is not None:
        name = "The shop's viewer shows them step by step; from the folder of this page, and alike for the others:"
        commands = {name: f"sightline-webshop serve --trajectories {trained.parent.as_posix()}"}
    return Section("Every evaluated episode", ("One JSON object a line.",), texts=commands, links=links)
