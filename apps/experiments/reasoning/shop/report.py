"""The chapter of planning in the shop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.reasoning.chapters import Chapter
from experiments.reasoning.settings import ShopSettings
from experiments.reasoning.shop.findings import GREEDY, Choice, Line, lines, same_steps
from experiments.reasoning.shop.learning import LearntRewards
from experiments.reasoning.shop.teaching import AFTER, BEFORE, Episode, Lesson
from experiments.reasoning.shop.trials import Trial
from lab.figures import in_style, legend_beside, one_panel, save_figure
from lab.report import Section
from lab.run import RunDirectory
from sightline.agents import Table
from sightline.agents.evaluation import mcnemar_test, paired_difference, rate_interval, show_interval

_BOUND = "oracle (bound)"


def shop_chapter(
    settings: ShopSettings,
    run: RunDirectory,
    models: Sequence[LearntRewards],
    choice: Choice,
    trials: Sequence[Trial],
) -> Chapter:
    """Return the chapter of E6."""
    found = lines(trials, choice, settings.seed)
    best = next(line for line in found if (line.method, line.simulations) == ("honest", choice.simulations))
    oracle = max((line for line in found if line.method == "oracle"), key=lambda line: line.simulations)
    honest, naive = ([line for line in found if line.method == method] for method in ("honest", "naive"))
    rivals = {name: same_steps(trials, choice, name, settings.seed) for name in ("best of N", "beam")}
    claims = [
        f"Planning honestly with {choice.simulations:,} simulations, chosen on development goals, meets "
        f"{_percent(best)} of {settings.test_goals} test goals in the shop and {_verdict(best)} the actor alone with "
        f"{_percent(found[0])}: {_points(best)} points.",
        f"The oracle, which sees true rewards, meets {_percent(oracle)} with at most {oracle.simulations:,} "
        f"simulations and {oracle.seconds:.3f} CPU seconds a goal: a bound of what these actions allow.",
        f"At equal steps in the environment honest search less best of N is "
        f"{show_interval(rivals['best of N'], '+.1f', scale=100)} points, less beam search "
        f"{show_interval(rivals['beam'], '+.1f', scale=100)}.",
        lowest_honest(honest),
        warning(naive, models[-1]),
    ]
    tables = [_lines_table(found, settings), _models_table(models), _choice_table(choice, settings)]
    figures = [
        save_figure(_curves(found, "simulations"), run.path / "plots" / "shop_by_simulations.svg"),
        save_figure(_curves(found, "steps"), run.path / "plots" / "shop_by_steps.svg"),
    ]
    section = Section(
        "Planning in the shop",
        paragraphs=(
            *claims,
            "ORACLE: rewards of the environment, which no shopper sees. HONEST: a model judges purchases by what their "
            "pages say; rewards are withheld from the search, and its plan is carried out once. The actor is the "
            "printed rule: it proposes, and its own way on from a page is what the page is worth. Steps are those "
            "taken in search, those for reading pages included.",
        ),
        tables=tuple(tables),
        figures=tuple(figures),
    )
    results = {
        "shop": {f"{line.method}, {line.simulations}": line.success.value for line in found}
        | {"chosen": [choice.simulations, choice.pessimism, choice.margin]}
    }
    return Chapter(claims, tables, [section], results)


def teaching_chapter(
    settings: ShopSettings, lessons: Sequence[Lesson], episodes: Mapping[str, Sequence[Episode]]
) -> Chapter:
    """Return the chapter of search as a teacher."""
    rng = np.random.default_rng(settings.seed)
    won = {name: np.array([episode.reward == 1 for episode in episodes[name]], float) for name in (BEFORE, AFTER)}
    rewards = {name: float(np.mean([episode.reward for episode in episodes[name]])) for name in (BEFORE, AFTER)}
    rates = {name: rate_interval(won[name], rng) for name in (BEFORE, AFTER)}
    difference = paired_difference(won[AFTER], won[BEFORE], rng)
    p_value = mcnemar_test(int((won[AFTER] > won[BEFORE]).sum()), int((won[AFTER] < won[BEFORE]).sum()))
    met = sum(lesson.reward == 1 for lesson in lessons)
    claim = (
        f"The student that imitates {met} plans of {len(lessons)} training goals meets "
        f"{show_interval(rates[AFTER], '.1f', scale=100)} % of {len(won[AFTER])} fresh goals, before "
        f"{show_interval(rates[BEFORE], '.1f', scale=100)} %: {show_interval(difference, '+.1f', scale=100)} points "
        f"(McNemar p = {p_value:.2g})."
    )
    table = Table(
        ("student", "success %", "mean reward"),
        tuple((name, show_interval(rates[name], ".1f", scale=100), f"{rewards[name]:.3f}") for name in (BEFORE, AFTER)),
        "Greedy shopping for the same goals; intervals resample goals.",
    )
    section = Section("Search as a teacher", paragraphs=(claim,), tables=(table,))
    results = {"teaching": {name: float(won[name].mean()) for name in (BEFORE, AFTER)}}
    return Chapter([claim], [table], [section], results)


def _percent(line: Line) -> str:
    return f"{show_interval(line.success, '.1f', scale=100)} %"


def _points(line: Line) -> str:
    return show_interval(line.difference, "+.1f", scale=100)


def _verdict(line: Line) -> str:
    """Return how a line compares with the actor alone, by the corrected test."""
    if line.p_value is None or line.difference is None or line.p_value >= 0.05:
        return "cannot be told apart from"
    return "beats" if line.difference.value > 0 else "is worse than"


def lowest_honest(honest: Sequence[Line]) -> str:
    """Return how the budget at which honest search does worst compares with the actor alone."""
    worst = min(honest, key=lambda line: line.success.value)
    return (
        f"Of all budgets honest search does worst at {worst.simulations:,} simulations, where it {_verdict(worst)} the "
        f"actor alone: {_points(worst)} points."
    )


def warning(naive: Sequence[Line], model: LearntRewards) -> str:
    """Return what much search does by the naive reward model."""
    last = naive[-1]
    lead = "A warning: much search" if _verdict(last) == "is worse than" else "Much search"
    return (
        f"{lead} by a naive reward model, fitted to {model.purchases:,} purchases of {model.goals} goals by titles and "
        f"prices alone, {_verdict(last)} the actor alone at {last.simulations:,} simulations: {_percent(last)}, "
        f"{_points(last)} points."
    )


def _lines_table(found: Sequence[Line], settings: ShopSettings) -> Table:
    rows = tuple(
        (
            _BOUND if line.method == "oracle" else line.method,
            f"{line.simulations:,}" if line.method != GREEDY else "",
            show_interval(line.success, ".1f", scale=100),
            show_interval(line.reward, ".3f"),
            _points(line) if line.difference is not None else "",
            f"{line.p_value:.2g}" if line.p_value is not None else "",
            f"{line.steps:.0f}",
            f"{line.judged:.0f}",
            f"{line.seconds:.3f}",
        )
        for line in found
    )
    columns = (
        *("method", "simulations", "success %", "reward", "success less the actor's", "p", "steps in search"),
        *("pages judged", "CPU s"),
    )
    caption = (
        f"{settings.test_goals} test goals, means a goal. Intervals resample goals; p is McNemar's, after Holm's "
        "correction over all rows. Best of N and beam search had as many steps as the honest search of that row's "
        "budget took on development goals."
    )
    return Table(columns, rows, caption)


def _models_table(models: Sequence[LearntRewards]) -> Table:
    rows = tuple(
        (m.name, f"{m.goals:,}", f"{m.purchases:,}", f"{m.correlation:.2f}", f"{m.fresh_correlation:.2f}")
        for m in models
    )
    columns = ("reward model", "goals", "purchases", "correlation, own goals", "correlation, fresh goals")
    return Table(columns, rows, "Mean correlation of estimate and true reward among the purchases of a goal.")


def _choice_table(choice: Choice, settings: ShopSettings) -> Table:
    row = (
        f"{choice.simulations:,}",
        f"{choice.pessimism:g}",
        f"{choice.margin:g}",
        f"{100 * choice.success:.1f}",
        f"{100 * choice.greedy:.1f}",
    )
    columns = ("simulations", "pessimism", "margin", "success %", "the actor alone %")
    return Table(columns, (row,), f"Chosen on {settings.dev_goals} development goals.")


@in_style
def _curves(found: Sequence[Line], along: str) -> Figure:
    """Draw success against simulations or steps, one line for each method."""
    figure, axes = one_panel()
    axes.axhline(100 * found[0].success.value, color="black", lw=0.8, ls=":", label=GREEDY)
    for method in dict.fromkeys(line.method for line in found[1:]):
        mine = sorted((line for line in found if line.method == method), key=lambda line: getattr(line, along))
        spread = [
            [100 * (line.success.value - line.success.low) for line in mine],
            [100 * (line.success.high - line.success.value) for line in mine],
        ]
        places = [max(getattr(line, along), 1) for line in mine]
        shares = [100 * line.success.value for line in mine]
        axes.errorbar(
            places, shares, yerr=spread, marker=".", capsize=2, label=_BOUND if method == "oracle" else method
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("simulations" if along == "simulations" else "steps in the environment")
    axes.set_ylabel("goals met, %")
    legend_beside(axes)
    return figure
