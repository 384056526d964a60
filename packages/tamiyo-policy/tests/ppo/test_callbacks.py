from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sightline.tamiyo_policy.ppo.callbacks import EveryRounds, KeepBest, TensorBoardLog
from sightline.tamiyo_policy.ppo.player import Evaluation
from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.tasks.memory_tasks import RepeatPrevious


def trainer() -> RecurrentPPO:
    return RecurrentPPO(RepeatPrevious(4, length=7), num_steps=8, hidden_dim=16)


def test_learning_ends_where_a_callback_says_so_and_the_others_are_still_called() -> None:
    seen: list[float] = []
    history = trainer().learn(32 * 5, on_round=[lambda row: row["steps"] < 64, lambda row: seen.append(row["steps"])])
    assert seen == [32, 64] == [row["steps"] for row in history]


def test_every_metric_is_logged_over_steps(tmp_path: Path) -> None:
    history = trainer().learn(64, on_round=TensorBoardLog(tmp_path / "run"))
    log = EventAccumulator(str(tmp_path / "run"))
    log.Reload()
    assert set(log.Tags()["scalars"]) == set(history[0]) | set(history[1])
    assert [(event.step, round(event.value, 4)) for event in log.Scalars("entropy")] == [
        (int(row["steps"]), round(row["entropy"], 4)) for row in history
    ]


def test_only_every_nth_round_reaches_a_callback() -> None:
    seen: list[float] = []
    trainer().learn(32 * 7, on_round=EveryRounds(3, lambda row: seen.append(row["steps"])))
    assert seen == [96, 192]


def test_the_best_policy_is_kept_and_ends_the_training_when_it_is_good_enough() -> None:
    returns, saved = iter([1.0, 0.5, 2.0, 3.0]), []
    keep = KeepBest(
        lambda: Evaluation(np.array([next(returns)]), np.array([1])), lambda: saved.append(keep.best), stop_at=2.0
    )
    history = trainer().learn(32 * 9, on_round=keep)
    assert saved == [1.0, 2.0]
    assert [row["evaluation_return"] for row in history] == [1.0, 0.5, 2.0]


def test_a_checkpoint_of_the_best_policy_can_be_loaded(tmp_path: Path) -> None:
    learner = trainer()
    keep = KeepBest(lambda: learner.evaluate(RepeatPrevious(4), 4), lambda: learner.save(tmp_path / "best"))
    learner.learn(64, on_round=keep)
    assert RecurrentPPO.load(tmp_path / "best", RepeatPrevious(2)).steps in (32, 64)
