"""The part of phase 2's report about a study: its plan, what came out, and how success grows with tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.shopping.agents import rules
from experiments.shopping.findings import agreements
from experiments.shopping.learning import packaged_student
from experiments.shopping.plots import success_curves
from experiments.shopping.report import agreement_table
from experiments.shopping.study.training import Compared
from experiments.shopping.study.trials import (
    PLAN,
    ActorsStudy,
    PagesStudy,
    Planned,
    judge,
    let_act,
    study_pages,
    study_results,
)
from lab.figures import save_figure
from lab.report import Section
from sightline.agents import Table
from sightline.agents.evaluation import (
    comparisons_table,
    pareto_frontier,
    resampled_by,
    results_table,
    show_interval,
)


def study_sections(
    plots: Path,
    studies: Sequence[PagesStudy],
    planned: Sequence[Planned],
    actors: ActorsStudy,
) -> list[Section]:
    """Return the plan's table, a section for each kind of page, and one for other actors; figures go to `plots`."""
    sections = [Section("What was planned, and what came out", (PLAN,), (planned_table(planned),))]
    sections += [_pages_section(plots, study) for study in studies]
    tables = (
        results_table(actors.summaries),
        comparisons_table(actors.comparisons),
        agreement_table(agreements(actors.episodes, actors.seed)),
    )
    return [*sections, Section("Other actors on fresh goals", (), tables)]


def planned_table(planned: Sequence[Planned]) -> Table:
    """Return the comparisons of the plan with their outcomes."""
    return Table(
        columns=(
            "pages",
            "comparison",
            "asked",
            "outcome",
            "goals",
            "success, points",
            "tokens",
            "adjusted p",
            "resampled",
        ),
        rows=tuple(
            (
                one.pages,
                f"{one.candidate} - {one.baseline}",
                one.asked,
                one.outcome,
                str(one.goals),
                show_interval(one.success_rate, "+.1f", scale=100),
                f"{one.token_share:.0%}",
                f"{one.adjusted_p_value:.2g}",
                resampled_by([one.success_rate]),
            )
            for one in planned
        ),
        caption="Paired on fresh goals, with 95 % intervals. Tokens are the first agent's as a share of the second's. "
        '"Keeps" excludes a loss of 3 points of success, "a tie" a difference of 3 points.',
    )


def _pages_section(plots: Path, study: PagesStudy) -> Section:
    summaries = study.summaries
    points = {
        row.agent: (row.prompt_tokens, row.success_rate) for row in summaries if row.prompt_tokens and row.success_rate
    }
    known = {
        name: (tokens.value, success.value)
        for name, (tokens, success) in points.items()
        if not name.startswith("oracle")
    }
    frontier = pareto_frontier(known)
    methods = dict.fromkeys(name.partition(", ")[0] for name in points)
    curves = {method: [point for name, point in points.items() if name.split(", ")[0] == method] for method in methods}
    figure = save_figure(success_curves(curves), plots / f"frontier_{study.pages}.svg")
    chosen = ", ".join(f"{agent}: k {k}" for agent, k in study.reading.items() if agent in study.episodes)
    sentences = (
        f"Chosen on development goals: {chosen}.",
        f"On the Pareto frontier by the means, the oracle left out: {', '.join(frontier)}.",
    )
    return Section(f"Fresh goals, {study.pages} pages", sentences, (results_table(summaries),), (figure,))


def add_study(compared: Sequence[Compared]) -> Compared:
    """Return the first training's answer with the study of it, and of a second one on long pages where there is one.

    Args:
        compared: trainings on short pages and, in a full study, on long ones.
    """
    first, *others = compared
    settings, plots = first.bench.settings, first.bench.run.path / "plots"
    full = settings.study == "full"
    studies = [study_pages(first, "short", sweeps=True)] if full else []
    studies.append(study_pages(first, "control", sweeps=False))
    studies += [study_pages(other, other.bench.settings.pages, sweeps=True) for other in others]
    others_act = {"student": packaged_student(settings), "lexical": rules(settings)["lexical"]}
    actors = let_act(first, others_act, settings.student_goals)
    planned = judge(studies)
    sections = study_sections(plots, studies, planned, actors)
    found = study_results(studies, planned)
    found["actors"] = [row.model_dump(mode="json") for row in actors.summaries]
    found["actors_compared"] = [row.model_dump(mode="json") for row in actors.comparisons]
    report = replace(first.report, sections=[*sections, *first.report.sections])
    return replace(
        first, results={**first.results, "study": found}, report=report, shown=(*first.shown, planned_table(planned))
    )
