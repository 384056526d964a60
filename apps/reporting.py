"""How an experiment is told: results, table in the terminal, plots and one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from measuring import CUTOFFS, RetrievalScores, difference, interval
from rich.console import Console
from rich.table import Table as TerminalTable

from sightline.agents import (
    AgentSummary,
    Comparison,
    Interval,
    NextActionMetrics,
    RunDirectory,
    Section,
    Table,
    Trajectory,
    bars_with_intervals,
    compare,
    comparisons_table,
    learning_curves,
    recall_curves,
    render_report,
    results_csv,
    results_table,
    save_figure,
    success_against_tokens,
    summarise,
    verdict,
)
from sightline.agents.runs import write_text

TRAINED: Final = "recurrent_state_gated_trained"
ZERO_SHOT: Final = "recurrent_state_gated_zero_shot"
PREDICTORS: Final = ("model_acc", "baseline_last_obs_acc", "majority_class_baseline")
"""What predicts the type of the expert's next action; names of fields of `NextActionMetrics`."""


@dataclass(frozen=True)
class Findings:
    """Everything that phase 2 measured.

    Attributes:
        next_action: epochs of the state model's training.
        retrieval: method -> how it ranks the expert's chunk on held-out pages.
        episodes: agent -> its episodes on held-out goals, over all training seeds.
        ablations: variant -> its episodes on development goals.
        seed: of the bootstrap.
    """

    next_action: Sequence[NextActionMetrics]
    retrieval: Mapping[str, RetrievalScores]
    episodes: Mapping[str, Sequence[Trajectory]]
    ablations: Mapping[str, Sequence[Trajectory]]
    seed: int

    def summaries(self) -> list[AgentSummary]:
        """One row per agent."""
        return summarise(self.episodes, seed=self.seed)

    def comparisons(self) -> list[Comparison]:
        """The trained state-gated agent against every other."""
        others = [name for name in self.episodes if name != TRAINED]
        return [compare(self.episodes, TRAINED, other, seed=self.seed) for other in others]

    def claims(self) -> list[str]:
        """The verdict against both baselines, in words."""
        comparisons = {comparison.baseline: comparison for comparison in self.comparisons()}
        return [verdict(comparisons[baseline]) for baseline in ("baseline_rag", "baseline_react")]

    def recall_differences(self) -> dict[str, Interval]:
        """Recall@5 of the trained retriever minus that of each other method."""
        trained = self.retrieval["state_gated_trained"].recall[5]
        return {
            name: difference(trained, scores.recall[5], self.seed)
            for name, scores in self.retrieval.items()
            if name != "state_gated_trained"
        }


def results(findings: Findings) -> dict[str, Any]:
    """The numbers, as ``results.json`` holds them; nothing in it depends on the clock."""
    seed = findings.seed
    return {
        "schema_version": 1,
        "claims": findings.claims(),
        "agents": [summary.model_dump(mode="json") for summary in findings.summaries()],
        "comparisons": [comparison.model_dump(mode="json") for comparison in findings.comparisons()],
        "retrieval": {
            name: {
                "recall": {str(k): asdict(interval(values, seed)) for k, values in scores.recall.items()},
                "mean_reciprocal_rank": asdict(interval(scores.reciprocal_rank, seed)),
                "ndcg_at_5": asdict(interval(scores.ndcg, seed)),
            }
            for name, scores in findings.retrieval.items()
        },
        "recall_at_5_trained_minus": {name: asdict(value) for name, value in findings.recall_differences().items()},
        "next_action": [asdict(epoch) for epoch in findings.next_action],
        "ablations": [summary.model_dump(mode="json") for summary in summarise(findings.ablations, seed=seed)],
    }


def write_report(run: RunDirectory, findings: Findings, footer: str) -> None:
    """Write tables (Markdown, CSV), plots and ``report.html``."""
    table = results_table(findings.summaries())
    write_text(run.path / "results.md", table.markdown() + "\n" + comparisons_table(findings.comparisons()).markdown())
    write_text(run.path / "results.csv", results_csv(findings.summaries()))
    first, *others = findings.claims()
    sections = [
        Section("Agents on held-out goals", tuple(others), (table, comparisons_table(findings.comparisons())),
                (_success_figure(run, findings),)),
        _retrieval_section(run, findings),
        _next_action_section(run, findings),
    ]  # fmt: skip
    if findings.ablations:
        sections.append(_ablation_section(run, findings))
    sections.append(_episode_section(findings))
    page = render_report("Does state-gated retrieval beat ReAct and query RAG in the shop?", first, sections, footer)
    write_text(run.path / "report.html", page)


def print_table(table: Table) -> None:
    """Show a table in the terminal."""
    shown = TerminalTable(*table.columns, caption=table.caption, caption_justify="left")
    for row in table.rows:
        shown.add_row(*row)
    Console(width=None if Console().is_terminal else 160).print(shown)


def _success_figure(run: RunDirectory, findings: Findings) -> Path:
    points = {
        summary.agent: (summary.prompt_tokens, summary.success_rate)
        for summary in findings.summaries()
        if summary.prompt_tokens is not None and summary.success_rate is not None
    }
    return save_figure(success_against_tokens(points), run.path / "plots" / "success_against_tokens.png")


def retrieval_table(findings: Findings) -> Table:
    """How the methods rank the expert's chunk."""
    seed = findings.seed
    return Table(
        columns=("method", "recall@1 %", "recall@5 %", "MRR", "nDCG@5"),
        rows=tuple(
            (
                name,
                _show(interval(scores.recall[1], seed), 100, ".1f"),
                _show(interval(scores.recall[5], seed), 100, ".1f"),
                _show(interval(scores.reciprocal_rank, seed), 1, ".3f"),
                _show(interval(scores.ndcg, seed), 1, ".3f"),
            )
            for name, scores in findings.retrieval.items()
        ),
        caption="On the pages of held-out expert episodes; 95 % bootstrap intervals over goals, mean over seeds.",
    )


def _retrieval_section(run: RunDirectory, findings: Findings) -> Section:
    curves = {
        name: {k: interval(scores.recall[k], findings.seed) for k in CUTOFFS}
        for name, scores in findings.retrieval.items()
    }
    sentences = tuple(
        f"Recall@5 of the trained retriever minus {name}: {_show(value, 100, '+.1f')} points."
        for name, value in findings.recall_differences().items()
    )
    figure = save_figure(recall_curves(curves), run.path / "plots" / "recall.png")
    return Section("Finding the expert's chunk", sentences, (retrieval_table(findings),), (figure,))


def next_action_figure(run: RunDirectory, history: Sequence[NextActionMetrics]) -> Path:
    """Draw the accuracies of the state model and its baselines over the epochs."""
    curves = {name: [getattr(epoch, name) for epoch in history] for name in PREDICTORS}
    figure = learning_curves(curves, "accuracy on held-out episodes")
    return save_figure(figure, run.path / "plots" / "next_action.png")


def _next_action_section(run: RunDirectory, findings: Findings) -> Section:
    best = max(findings.next_action, key=lambda epoch: epoch.model_acc)
    sentence = "Accuracy on held-out episodes at the best epoch: " + ", ".join(
        f"{name} {100 * getattr(best, name):.1f} %" for name in PREDICTORS
    )
    figure = next_action_figure(run, findings.next_action)
    return Section("What the state model knows of the next action", (f"{sentence}.",), (), (figure,))


def _ablation_section(run: RunDirectory, findings: Findings) -> Section:
    summaries = summarise(findings.ablations, seed=findings.seed)
    rates = {summary.agent: summary.success_rate for summary in summaries if summary.success_rate is not None}
    figure = save_figure(
        bars_with_intervals(rates, "success, % of development goals"), run.path / "plots" / "ablations.png"
    )
    sentence = "One change at a time to the trained agent, with one training seed, on goals that no final figure uses."
    return Section("Ablations", (sentence,), (results_table(summaries),), (figure,))


def _episode_section(findings: Findings) -> Section:
    """One failed episode, decision by decision, so that a reader sees what the agent saw."""
    episodes = findings.episodes[TRAINED]
    shown = next((episode for episode in episodes if not episode.success and episode.steps), episodes[0])
    texts = {}
    for number, step in enumerate(shown.steps[:6], start=1):
        chunks = "\n".join(f"{item.score:+.2f}  {item.text}" for item in step.attention if item.selected)
        texts[f"Step {number}: {step.action} (expert: {step.expert_action or 'another query'})"] = chunks
    heading = "A failed episode: the chunks that were read" if not shown.success else "An episode: the chunks read"
    return Section(heading, (shown.instruction,), texts=texts)


def _show(value: Interval, scale: float, style: str) -> str:
    mean, low, high = (format(scale * number, style) for number in (value.mean, value.low, value.high))
    return f"{mean} [{low}, {high}]"
