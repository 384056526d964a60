"""What a match of pairs of games shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sightline.agents.evaluation import Interval, rate_interval, wilson_interval
from sightline.agents.selfplay.matches.gate import PAIR_SCORES, SequentialTest
from sightline.agents.selfplay.matches.playing import GameRecord

MOST_ERRORS = 0.01
Verdict = Literal["accept", "reject", "undecided", "errors"]


class MatchResult(BaseModel):
    """A match from the candidate's side; its unit is the pair, one opening played with both colours."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = 1
    candidate: str
    """Its name."""
    opponent: str
    """Its name."""
    win_rate: Interval
    """(wins + draws / 2) / games, with an interval that resamples pairs."""
    wins: int
    """Games the candidate won, those included in which the opponent made an error."""
    losses: int
    """Games it lost, likewise."""
    draws: int
    """Games drawn."""
    errors: tuple[int, int]
    """Errors of the candidate and of the opponent."""
    eval_games: int
    """Games played until the verdict."""
    avg_game_length: float
    """Moves from the opening."""
    avg_mcts_value: tuple[float | None, float | None]
    """What each expected for itself, the mean over games, for example by its search; None where it did not say."""
    decisive: Interval | None
    """The share of the games with a winner that the candidate won; None without any."""
    pentanomial: tuple[int, int, int, int, int]
    """Pairs in which the candidate scored 0, 1/4, 1/2, 3/4 and 1."""
    elo: tuple[float, float, float]
    """Rating difference, -400 log10(1 / win_rate - 1), with its interval by the delta method on pairs. Infinite for a
    rate of 0 or 1."""
    verdict: Verdict
    """"accept" where the sequential test found the candidate better, "reject", "undecided" where the pairs ran out, or
    "errors" where more than 1 % of the games ended in one."""
    win_threshold: float
    """Score of a candidate that is worth having, tested against 1/2."""
    seconds: tuple[float, float]
    """That each took to choose."""

    @property
    def is_better(self) -> bool:
        """Whether the candidate passed the test."""
        return self.verdict == "accept"

    @property
    def decided(self) -> bool:
        """Whether the test came to an end."""
        return self.verdict in ("accept", "reject")

    def __str__(self) -> str:
        rate = self.win_rate
        text = f"{self.verdict} after {self.eval_games} games: {rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
        return f"{text}, {sum(self.errors)} errors" if any(self.errors) else text


def pair_score(pair: tuple[GameRecord, GameRecord]) -> float:
    """Return the candidate's mean result of a pair, 0 for two losses, 1 for two wins."""
    return sum((record.result + 1) / 2 for record in pair) / 2


def match_result(
    names: tuple[str, str],
    pairs: Sequence[tuple[GameRecord, GameRecord]],
    test: SequentialTest,
    *,
    seed: int,
    sequential: bool = True,
) -> MatchResult:
    """Return what these pairs show, in the order in which they were played.

    Args:
        names: names of candidate and opponent.
        pairs: pairs of games, at least two.
        test: its verdict; pairs after the one that brought it are left out.
        seed: seed of the bootstrap.
        sequential: whether to stop there; otherwise all pairs count.
    """
    if len(pairs) < 2:
        raise ValueError(f"a match needs at least two pairs of games, got {len(pairs)}")
    decision, number = test.decide([pair_score(pair) for pair in pairs])
    pairs = pairs[:number] if sequential and number > 1 else pairs
    scores = np.array([pair_score(pair) for pair in pairs])
    games = [record for pair in pairs for record in pair]
    wins, losses = (sum(record.result == sign for record in games) for sign in (1, -1))
    errors = tuple(sum(record.error_by == side for record in games) for side in (0, 1))
    too_many = sum(errors) > MOST_ERRORS * len(games)
    return MatchResult(
        candidate=names[0],
        opponent=names[1],
        win_rate=_interval(scores, seed),
        wins=wins,
        losses=losses,
        draws=len(games) - wins - losses,
        errors=(errors[0], errors[1]),
        eval_games=len(games),
        avg_game_length=float(np.mean([record.plies for record in games])),
        avg_mcts_value=(_mean_value(games, 0), _mean_value(games, 1)),
        decisive=wilson_interval(wins, wins + losses) if wins + losses else None,
        pentanomial=tuple(int((scores == score).sum()) for score in PAIR_SCORES),
        elo=elo_difference(scores),
        verdict="errors" if too_many else decision,
        win_threshold=test.at_least,
        seconds=(sum(record.seconds[0] for record in games), sum(record.seconds[1] for record in games)),
    )


def elo_difference(scores: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Rating difference with its 95 % interval (delta method): (estimate, low, high)."""
    values = np.asarray(scores, dtype=np.float64)
    score = float(values.mean())
    if score in (0.0, 1.0):
        infinite = math.inf if score == 1.0 else -math.inf
        return infinite, infinite, infinite
    estimate = -400 * math.log10(1 / score - 1)
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    half = 1.96 * error * 400 / (math.log(10) * score * (1 - score))
    return estimate, estimate - half, estimate + half


def _interval(scores: np.ndarray, seed: int) -> Interval:
    interval = rate_interval(scores, np.random.default_rng(seed), unit="pairs of games")
    assert interval is not None, "a match has at least two pairs"
    return interval


def _mean_value(games: Sequence[GameRecord], side: int) -> float | None:
    values = [value for record in games if (value := record.values[side]) is not None]
    return float(np.mean(values)) if values else None
