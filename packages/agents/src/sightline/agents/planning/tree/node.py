"""A node of one search tree in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.agents.planning.tree.puct import LEAST_PRIOR, softmax
from sightline.agents.planning.worlds.model import EvaluatorError
from sightline.agents.planning.worlds.serial import Judgement

NODE_BYTES = 600  # about; the state aside
EDGE_BYTES = 160


class Node:
    """A state in which the world goes on, and what is known of its actions; lists run over its legal actions.

    Attributes:
        state: the state.
        legal: its legal actions.
        logits: logits of these actions; None where all are equal.
        prior: prior of these actions.
        raw: the evaluator's value.
        value: mean value for the side to move.
        best: the best exact value among its actions, -inf without one.
        total: simulations through the node, its own first one included.
        open: positions of the actions whose value is not exact.
        visits: simulations through each action.
        q: mean value of each action for the side to move, exact once closed, NaN before a visit.
        bonus: prior / (1 + visits); -inf once closed.
        child: the node behind each action; None before a visit and where the world ends.
        reward: reward of each visited action.
        discount: discount of each visited action; 0 where the world ends.
    """

    __slots__ = (
        "best", "bonus", "child", "discount", "legal", "logits", "open", "prior", "q", "raw", "reward", "state",
        "total", "value", "visits",
    )  # fmt: skip

    def __init__(self, state: Any, judgement: Judgement, tie_noise: NDArray[np.float64] | None) -> None:
        legal, logits, value, _ = judgement
        size = len(legal)
        if tie_noise is not None:
            logits = [(logits[at] if logits else 0.0) + float(tie_noise[a]) for at, a in enumerate(legal)]
        self.logits = logits
        if logits is None:
            self.prior = [1.0 / max(size, 1)] * size
        else:
            self.prior = [max(probability, LEAST_PRIOR) for probability in softmax(list(logits))]
        if legal and (not math.isfinite(value) or self.prior[0] != self.prior[0]):
            raise EvaluatorError(f"value {value} and logits {list(logits or ())} of {state!r}: they must be finite")
        self.state, self.legal, self.raw, self.value = state, legal, value, value
        self.best, self.total = -math.inf, 1
        self.open = list(range(size))
        self.visits, self.q, self.bonus = [0] * size, [math.nan] * size, self.prior[:]
        self.child: list[Node | None] = [None] * size
        self.reward, self.discount = [0.0] * size, [0.0] * size

    def log_prior(self) -> Sequence[float]:
        """Return logits, whether or not they were given."""
        return self.logits if self.logits is not None else [0.0] * len(self.legal)
