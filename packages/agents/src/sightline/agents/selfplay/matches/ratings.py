"""Ratings of several players from all matches among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sightline.agents.evaluation import Interval
from sightline.agents.selfplay.matches.arena import Arena
from sightline.agents.selfplay.matches.match import pair_score
from sightline.agents.selfplay.matches.playing import Player

_PRIOR_DRAWS = 0.5  # of a pair, between any two that met: keeps the rating of who won or lost all games finite
_ITERATIONS = 10_000
_TOLERANCE = 1e-10


class Ratings(BaseModel):
    """Bradley-Terry ratings on the scale of Elo; their mean is 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    ratings: dict[str, Interval]
    """Rating of each player by name, with an interval that resamples openings."""
    pairs: int
    """Pairs of games between any two."""


def round_robin(players: Sequence[Player], arena: Arena, *, resamples: int = 500, confidence: float = 0.95) -> Ratings:
    """Play everyone against everyone from the same openings.

    Args:
        players: players, at least two, of different names.
        arena: where; all its openings are played.
        resamples: bootstrap samples of the openings.
        confidence: confidence of the intervals, in (0, 1).

    Raises:
        ValueError: fewer than two players, or two of one name.
    """
    names = [player.name for player in players]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"a round robin needs at least two players of different names, got {names}")
    scores = {
        (first, second): np.array([pair_score(pair) for pair in arena.play(players[first], players[second])])
        for first, second in combinations(range(len(players)), 2)
    }
    openings = len(next(iter(scores.values())))
    rng = np.random.default_rng(arena.seed)
    drawn = [
        bradley_terry(len(players), {pair: values[chosen] for pair, values in scores.items()})
        for chosen in rng.integers(0, openings, (resamples, openings))
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    estimates = bradley_terry(len(players), scores)
    return Ratings(
        ratings={
            name: Interval(float(estimate), float(low[at]), float(high[at]), confidence, "openings")
            for at, (name, estimate) in enumerate(zip(names, estimates, strict=True))
        },
        pairs=openings,
    )


def bradley_terry(players: int, scores: Mapping[tuple[int, int], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the likeliest ratings `[players]`, of mean 0, by the iteration of Hunter (2004).

    Args:
        players: how many there are.
        scores: results of pairs of games in [0, 1] for the first of two players; half a drawn pair is added to each.
    """
    won, met = np.zeros((players, players)), np.zeros((players, players))
    for (first, second), values in scores.items():
        won[first, second] = values.sum() + _PRIOR_DRAWS / 2
        won[second, first] = len(values) - values.sum() + _PRIOR_DRAWS / 2
        met[first, second] = met[second, first] = len(values) + _PRIOR_DRAWS
    strength = np.ones(players)
    for _ in range(_ITERATIONS):
        new = won.sum(axis=1) / (met / (strength[:, None] + strength)).sum(axis=1)
        new /= np.exp(np.log(new).mean())
        if np.abs(np.log(new / strength)).max() < _TOLERANCE:
            break
        strength = new
    return 400 * np.log(new) / math.log(10)
