"""The chapters of search and self-play on boards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.reasoning.boards.rates import CONNECT_FOUR, TIC_TAC_TOE, Rate
from experiments.reasoning.boards.training import ROLLOUTS, MatchRecord, Snapshot
from experiments.reasoning.chapters import Chapter
from experiments.reasoning.settings import BoardSettings
from lab.figures import in_style, legend_beside, one_panel, save_figure
from lab.report import Section
from lab.run import RunDirectory
from sightline.agents import Table
from sightline.agents.evaluation import Interval, show_interval, wilson_interval
from sightline.agents.selfplay import Ratings

_WILSON = "Brackets hold 95 % Wilson intervals over positions."


def optimal_rate(rate: Rate) -> Interval:
    """Return the share of positions in which the move keeps the value."""
    return wilson_interval(sum(rate.optimal), len(rate.optimal))


def search_chapter(settings: BoardSettings, run: RunDirectory, rates: Sequence[Rate]) -> Chapter:
    """Return the chapter of E4: searches without a network against exact truth."""
    tables = [_rates_table(rates, game) for game in (TIC_TAC_TOE, CONNECT_FOUR)]
    figure = save_figure(_curves(rates), run.path / "plots" / "optimal_moves.svg")
    last = settings.tic_tac_toe_simulations[-1]

    def shown(method: str, judge: str) -> str:
        found = next(
            rate
            for rate in rates
            if (rate.game, rate.method, rate.judge, rate.simulations) == (TIC_TAC_TOE, method, judge, last)
        )
        return f"{show_interval(optimal_rate(found), '.1f', scale=100)} %"

    claim = (
        f"With {last:,} simulations PUCT plays a move that keeps the value in {shown('puct', 'uniform')} of "
        f"tic-tac-toe's positions. Judged by one random game a leaf, PUCT does in {shown('puct', 'rollouts')} and "
        f"Gumbel, whose few visits let noise decide, in {shown('gumbel', 'rollouts')}."
    )
    section = Section(
        "Search on boards against exact truth",
        paragraphs=(
            claim,
            "A move is optimal where it keeps the position's value under perfect play. In Connect Four only positions "
            "that have a losing choice count, so that any move at random is often wrong.",
        ),
        tables=tuple(tables),
        figures=(figure,),
    )
    results = {
        "search": {f"{r.game}, {r.method}, {r.judge}, {r.simulations}": float(np.mean(r.optimal)) for r in rates}
    }
    return Chapter([claim], tables, [section], results)


def selfplay_chapter(
    settings: BoardSettings,
    snapshots: Sequence[Snapshot],
    rates: Sequence[Rate],
    matches: Sequence[MatchRecord],
    ratings: Ratings,
) -> Chapter:
    """Return the chapter of E5: a network that learns from its own games."""
    board = f"Connect Four {settings.columns} x {settings.rows}"
    tables = [_snapshots_table(settings, snapshots, rates, ratings), _methods_table(rates), _matches_table(matches)]
    match = next(record.result for record in matches if record.against == ROLLOUTS)
    searched = _find(rates, "none", "network", settings.match_simulations, settings.snapshots)
    rollouts = _find(rates, "puct", "rollouts", settings.opponent_simulations, 0)
    claim = (
        f"After {snapshots[-1].cpu_seconds / 60:.1f} CPU minutes of self-play in {board}, the network with "
        f"{settings.match_simulations} simulations scores {show_interval(match.win_rate, '.2f')} against "
        f"{settings.opponent_simulations} simulations with random games ({match.wins}-{match.draws}-{match.losses}), "
        f"and keeps the value of solved positions with a losing choice in "
        f"{show_interval(optimal_rate(searched), '.1f', scale=100)} %; its opponent does in "
        f"{show_interval(optimal_rate(rollouts), '.1f', scale=100)} %."
    )
    section = Section("Learning from games against oneself", paragraphs=(claim,), tables=tuple(tables))
    results = {
        "selfplay": {
            "score": match.win_rate.value,
            "score_low": match.win_rate.low,
            "optimal": optimal_rate(searched).value,
            "games": snapshots[-1].games,
            "updates": snapshots[-1].updates,
        }
    }
    return Chapter([claim], tables, [section], results)


def _rates_table(rates: Sequence[Rate], game: str) -> Table:
    mine = [rate for rate in rates if rate.game == game]
    budgets = sorted({rate.simulations for rate in mine})
    kinds = list(dict.fromkeys((rate.method, rate.judge) for rate in mine))
    rows = []
    for method, judge in kinds:
        by_budget = {rate.simulations: rate for rate in mine if (rate.method, rate.judge) == (method, judge)}
        cells = (show_interval(optimal_rate(by_budget[budget]), ".1f", scale=100) for budget in budgets)
        rows.append((method, judge, *cells))
    columns = ("method", "leaves judged by", *(f"{budget:,} simulations" for budget in budgets))
    caption = f"Optimal moves in % of {len(mine[0].optimal):,} positions of {game}. {_WILSON}"
    return Table(columns, tuple(rows), caption)


def _snapshots_table(
    settings: BoardSettings, snapshots: Sequence[Snapshot], rates: Sequence[Rate], ratings: Ratings
) -> Table:
    rows = []
    for snapshot in snapshots:
        raw = _find(rates, "none", "network", 1, snapshot.number)
        searched = _find(rates, "none", "network", settings.match_simulations, snapshot.number)
        rows.append(
            (
                f"network {snapshot.number}",
                f"{snapshot.cpu_seconds:.0f}",
                f"{snapshot.games:,}",
                f"{snapshot.updates:,}",
                show_interval(optimal_rate(raw), ".1f", scale=100),
                show_interval(optimal_rate(searched), ".1f", scale=100),
                f"{raw.value_error:.2f}" if raw.value_error is not None else "",
                show_interval(ratings.ratings[f"network {snapshot.number}"], "+.0f"),
            )
        )
    for name in (ROLLOUTS, "random"):
        rating = show_interval(ratings.ratings[name], "+.0f")
        rows.append((name, "", "", "", "", "", "", rating))
    columns = (
        *("player", "CPU s", "games", "updates", "optimal, first thought", f"{settings.match_simulations} simulations"),
        *("value error", "rating"),
    )
    caption = (
        f"Optimal moves in % of {len(rates[0].optimal)} solved positions. {_WILSON} Ratings are Bradley-Terry on the "
        f"scale of Elo, of mean 0, from {ratings.pairs} openings with both colours between any two; their intervals "
        "resample openings."
    )
    return Table(columns, tuple(rows), caption)


def _methods_table(rates: Sequence[Rate]) -> Table:
    kept = [rate for rate in rates if rate.method != "none" or rate.judge == "nothing"]
    rows = tuple(
        (
            rate.method,
            rate.judge,
            f"{rate.simulations:,}",
            show_interval(optimal_rate(rate), ".1f", scale=100),
            f"{rate.value_error:.2f}" if rate.value_error is not None else "",
        )
        for rate in kept
    )
    columns = ("method", "leaves judged by", "simulations", "optimal moves, %", "value error")
    return Table(columns, rows, f"The last network and what it compares with. {_WILSON}")


def _matches_table(matches: Sequence[MatchRecord]) -> Table:
    rows = tuple(
        (
            record.result.opponent,
            f"{record.result.wins}-{record.result.draws}-{record.result.losses}",
            show_interval(record.result.win_rate, ".3f"),
            f"{record.result.elo[0]:+.0f} [{record.result.elo[1]:+.0f}, {record.result.elo[2]:+.0f}]",
            f"{record.result.avg_game_length:.1f}",
            "-".join(map(str, record.result.pentanomial)),
            str(sum(record.result.errors)),
        )
        for record in matches
    )
    columns = ("against", "wins-draws-losses", "score", "Elo", "moves", "pairs scoring 0, ¼, ½, ¾, 1", "errors")
    return Table(
        columns,
        rows,
        "The last network's matches: openings played with both colours, of random moves; against the solver, openings "
        "whose value is a draw. Intervals resample pairs.",
    )


def _find(rates: Sequence[Rate], method: str, judge: str, simulations: int, number: int) -> Rate:
    return next(
        rate
        for rate in rates
        if (rate.method, rate.judge, rate.simulations, rate.number) == (method, judge, simulations, number)
        and rate.game == CONNECT_FOUR
    )


@in_style
def _curves(rates: Sequence[Rate]) -> Figure:
    """Draw the share of optimal moves against simulations, one line for each game, method and judge."""
    figure, axes = one_panel()
    for game, method, judge in dict.fromkeys((rate.game, rate.method, rate.judge) for rate in rates):
        mine = [rate for rate in rates if (rate.game, rate.method, rate.judge) == (game, method, judge)]
        style = "-" if method == "puct" else "--"
        shares = [100 * np.mean(rate.optimal) for rate in mine]
        axes.plot([r.simulations for r in mine], shares, style, marker=".", label=f"{game}: {method}, {judge}")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("simulations")
    axes.set_ylabel("optimal moves, %")
    legend_beside(axes)
    return figure
