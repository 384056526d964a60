"""Whether a candidate is better, decided as soon as the games allow: a sequential test on pairs of games.

A pair is one opening played with both colours; its score is the mean of the two results, 0, 1/4, 1/2, 3/4 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PAIR_SCORES = (0.0, 0.25, 0.5, 0.75, 1.0)
Decision = Literal["accept", "reject", "undecided"]
_PRIOR_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """Tests score = `at_most` against score = `at_least` (Wald 1945; Van den Bergh's pentanomial form)."""

    at_most: float = 0.5
    """Score under the hypothesis that there is no improvement."""
    at_least: float = 0.55
    """Score under the one that there is."""
    alpha: float = 0.05
    """Chance of accepting a candidate whose score is `at_most`."""
    beta: float = 0.05
    """Chance of rejecting one whose score is `at_least`."""
    every: int = 8
    """Pairs between looks."""

    def __post_init__(self) -> None:
        if not 0 < self.at_most < self.at_least < 1:
            raise ValueError(f"0 < at_most < at_least < 1 must hold, got {self.at_most} and {self.at_least}")
        if not (0 < self.alpha < 0.5 and 0 < self.beta < 0.5 and self.every >= 1):
            raise ValueError(f"alpha and beta must lie between 0 and 0.5 and every be at least 1, got {self}")

    def ratios(self, scores: Sequence[float]) -> NDArray[np.float64]:
        """Log-likelihood ratio of `at_least` against `at_most` after 1, 2, ... pairs, for normal means.

        The five possible scores enter mean and variance with a weight of 0.001 each, so that equal pairs have a
        variance.
        """
        given = np.asarray(scores, dtype=np.float64)
        number = np.arange(1, given.size + 1)
        weight = number + _PRIOR_WEIGHT * len(PAIR_SCORES)
        mean = (given.cumsum() + _PRIOR_WEIGHT * sum(PAIR_SCORES)) / weight
        squares = (given**2).cumsum() + _PRIOR_WEIGHT * sum(score**2 for score in PAIR_SCORES)
        variance = squares / weight - mean**2
        gap = self.at_least - self.at_most
        return number * gap * (2 * mean - self.at_most - self.at_least) / (2 * variance)

    def decide(self, scores: Sequence[float]) -> tuple[Decision, int]:
        """Return the decision and after how many pairs it fell; "undecided" after all of them.

        Looks are taken after every `every` pairs and at no other time.
        """
        accept, reject = math.log((1 - self.beta) / self.alpha), math.log(self.beta / (1 - self.alpha))
        looks = self.ratios(scores)[self.every - 1 :: self.every]
        crossed = np.flatnonzero((looks >= accept) | (looks <= reject))
        if not crossed.size:
            return "undecided", len(scores)
        return ("accept" if looks[crossed[0]] >= accept else "reject"), int(crossed[0] + 1) * self.every

    def expected_pairs(self, score: float, deviation: float) -> float:
        """Wald's approximation of the pairs until a decision.

        Args:
            score: true mean of a pair's score; `at_most` and `at_least` are the cases the test is made for.
            deviation: standard deviation of a pair's score.
        """
        accept, reject = math.log((1 - self.beta) / self.alpha), math.log(self.beta / (1 - self.alpha))
        gap = self.at_least - self.at_most
        drift = gap * (2 * score - self.at_most - self.at_least) / (2 * deviation**2)
        if abs(drift) < 1e-12:
            return -accept * reject / (gap / deviation) ** 2
        # The chance to accept, from the root of the moment generating function of one pair's ratio.
        root = (self.at_most + self.at_least - 2 * score) / gap
        chance = (1 - math.exp(root * reject)) / (math.exp(root * accept) - math.exp(root * reject))
        return (chance * accept + (1 - chance) * reject) / drift
