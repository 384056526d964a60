"""What can be done with the metrics of each round: logs for TensorBoard, checkpoints, evaluations, an early end.

A callback is a function of a round's metrics by name. It may add metrics of its own, and ends the training by returning
False. Knows nothing about how the metrics come about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from sightline.tamiyo_policy.ppo.player import Evaluation

Callback: TypeAlias = Callable[[dict[str, float]], object]
"""What is called with the metrics of a round; training ends where it returns False."""


def call_all(callbacks: Callback | Sequence[Callback] | None, metrics: dict[str, float]) -> bool:
    """Call one or several callbacks in their order, and return whether training goes on."""
    if callbacks is None:
        return True
    every = callbacks if isinstance(callbacks, Sequence) else [callbacks]
    goes_on = True
    for callback in every:  # all of them, also behind one that ends the training
        goes_on = callback(metrics) is not False and goes_on
    return goes_on


class TensorBoardLog:
    """Writes every metric of every round as a scalar over environment steps, for TensorBoard.

    Args:
        folder: folder of this run; made when missing.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "logs for TensorBoard need: pip install 'sightline-tamiyo-policy[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def __call__(self, metrics: dict[str, float]) -> None:
        """Write the metrics of a round; they can be read at once."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, int(metrics["steps"]))
        self._writer.flush()


class EveryRounds:
    """Calls another callback in every n-th round only.

    Args:
        rounds: n.
        callback: what is called.
    """

    def __init__(self, rounds: int, callback: Callback) -> None:
        self._rounds, self._callback, self._seen = rounds, callback, 0

    def __call__(self, metrics: dict[str, float]) -> bool:
        """Count a round, and pass its metrics on if it is the n-th."""
        self._seen += 1
        return self._seen % self._rounds != 0 or self._callback(metrics) is not False


class KeepBest:
    """Evaluates the policy and saves the trainer whenever its mean return is the best so far.

    It adds `evaluation_return` to the metrics. Put it into `EveryRounds`, as episodes cost time.

    Args:
        evaluate: what plays the episodes, for example `lambda: trainer.evaluate(environment, 20)`; not in the
            environments that are learned in.
        save: what saves the trainer, for example `lambda: trainer.save(path)`.
        stop_at: mean return at which training ends; None for never.

    Attributes:
        best: the best mean return so far.
    """

    def __init__(
        self,
        evaluate: Callable[[], Evaluation],
        save: Callable[[], object],
        *,
        stop_at: float | None = None,
    ) -> None:
        self._evaluate, self._save, self._stop_at = evaluate, save, stop_at
        self.best = float("-inf")

    def __call__(self, metrics: dict[str, float]) -> bool:
        """Evaluate, save if it is the best, and return whether training goes on."""
        metrics["evaluation_return"] = mean = self._evaluate().mean_return
        if mean > self.best:
            self.best = mean
            self._save()
        return self._stop_at is None or mean < self._stop_at
