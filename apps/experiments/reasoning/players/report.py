"""What TRM and HRM came to as players of Connect Four."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.reasoning.chapters import Chapter
from experiments.reasoning.players.learning import PlayerResult
from experiments.reasoning.settings import PlayerSettings
from lab.report import Section
from sightline.agents import Table
from sightline.agents.evaluation import show_interval


def players_chapter(settings: PlayerSettings, results: Sequence[PlayerResult]) -> Chapter:
    """Return the chapter of the reasoners' matches."""
    table = Table(
        columns=(
            *("player", "seed", "parameters", "opponent's", "games learnt from", "opponent's", "updates", "opponent's"),
            *("wins-draws-losses", "score %", "Elo"),
        ),
        rows=tuple(
            (
                result.player,
                str(result.seed),
                f"{result.parameters[0]:,}",
                f"{result.parameters[1]:,}",
                f"{result.games[0]:,}",
                f"{result.games[1]:,}",
                f"{result.updates[0]:,}",
                f"{result.updates[1]:,}",
                f"{result.match.wins}-{result.match.draws}-{result.match.losses}",
                show_interval(result.match.win_rate, ".1f", scale=100),
                f"{result.match.elo[0]:+.0f} [{result.match.elo[1]:+.0f}, {result.match.elo[2]:+.0f}]",
            )
            for result in results
        ),
        caption=f"Connect Four {settings.columns}x{settings.rows}, {settings.pairs} openings with both colours, "
        f"{settings.match_simulations} simulations a move; each side had {settings.minutes:g} CPU minutes of self-play "
        "and learning. Intervals at 95 % resample pairs.",
    )
    claims = [
        f"As a player of Connect Four {settings.columns}x{settings.rows}, {result.player} scores "
        f"{show_interval(result.match.win_rate, '.1f', scale=100)} % against a convolutional network of as many "
        f"parameters after {settings.minutes:g} CPU minutes each, having seen {result.games[0]:,} games to its "
        f"{result.games[1]:,}."
        for result in results
    ]
    summary = [result.model_dump(mode="json", exclude={"seconds"}) for result in results]
    return Chapter(claims, [table], [Section("Reasoners as players", tables=(table,))], {"players": summary})
