from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.agents.selfplay import (
    ConnectFour,
    SelfPlayConfig,
    SelfPlayDivergedError,
    SelfPlayTrainer,
    Solver,
    TicTacToe,
    train_self_play,
)
from sightline.agents.selfplay.games.boards import pack
from sightline.agents.selfplay.learning.replay import Targets
from sightline.retrieval.jsonl import RecordError

GAME = ConnectFour(5, 4)
SMALL = SelfPlayConfig(
    updates=12,
    games=6,
    simulations=6,
    channels=8,
    blocks=1,
    buffer_size=500,
    batch_size=32,
    checkpoint_every=4,
    precision="float32",
)


def weights(trainer: SelfPlayTrainer) -> dict[str, Any]:
    return {name: tensor.numpy().copy() for name, tensor in trainer.network.state_dict().items()}


def assert_same(first: SelfPlayTrainer, second: SelfPlayTrainer) -> None:
    one, two = weights(first), weights(second)
    assert all((one[name] == two[name]).all() for name in one)
    for name, array in first.buffer.state().items():
        np.testing.assert_array_equal(array, second.buffer.state()[name])
    assert first.updates == second.updates


def test_sixty_four_solved_positions_are_learnt_by_heart(random_positions: Any) -> None:
    solver = Solver(GAME)
    states = random_positions(GAME, 0, 64, range(8, 14))
    scores = [solver.action_scores(state) for state in states]
    best = [max(score, key=lambda action: score[action]) for score in scores]
    mover, other = pack(states)
    policy = np.eye(5, dtype=np.float32)[best]
    value = np.sign([max(score.values()) for score in scores]).astype(np.float32)
    trainer = SelfPlayTrainer(GAME, SelfPlayConfig(updates=400, batch_size=64))
    trainer.buffer.add(Targets(mover, other, policy, value))
    while trainer.updates < 400:
        trainer._update()
        trainer.updates += 1
    thought = trainer.player(simulations=1).choose(GAME, states, range(64))
    assert (thought.actions == best).mean() >= 0.99
    assert np.abs(thought.values - value).mean() < 0.1


@pytest.mark.parametrize("gate", ["off", "sequential"])
def test_a_run_that_stops_and_goes_on_equals_an_undisturbed_one(tmp_path: Path, gate: Any) -> None:
    config = SMALL.model_copy(
        update={"gate": gate, "gate_every": 5, "gate_openings": 8, "decisive": gate == "sequential"}
    )
    whole = SelfPlayTrainer(GAME, config, tmp_path / "whole")
    whole.run()
    out = tmp_path / "stopped"

    class StopError(Exception):
        pass

    for at in (3, 7, 10):

        def stop(trainer: SelfPlayTrainer, metrics: dict[str, float], at: int = at) -> None:
            if trainer.updates == at:
                raise StopError

        with pytest.raises(StopError):
            SelfPlayTrainer(GAME, config, out).run(stop)
    resumed = SelfPlayTrainer(GAME, config, out)
    assert resumed.updates == 8
    resumed.run()
    assert_same(whole, resumed)
    rows = [{key: value for key, value in row.items() if key != "cpu_seconds"} for row in whole.history]
    again = [{key: value for key, value in row.items() if key != "cpu_seconds"} for row in resumed.history]
    assert rows == again
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
    assert resumed.cpu_seconds > 0


def test_a_killed_run_goes_on_and_equals_an_undisturbed_one(tmp_path: Path) -> None:
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from sightline.agents.selfplay import ConnectFour, SelfPlayConfig, train_self_play\n"
        "train_self_play(ConnectFour(5, 4), SelfPlayConfig.model_validate_json(sys.argv[1]), sys.argv[2])\n"
    )
    config = SMALL.model_copy(update={"updates": 60, "checkpoint_every": 2})
    command = [sys.executable, "-c", code, config.model_dump_json(), str(tmp_path / "killed")]
    process = subprocess.Popen(command)
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        resumed = SelfPlayTrainer(GAME, config, tmp_path / "killed")
        assert 0 < resumed.updates < 60
        resumed.run()
        whole = SelfPlayTrainer(GAME, config)
        whole.run()
    finally:
        torch.set_num_threads(threads)
    assert_same(whole, resumed)


def test_positions_are_learnt_from_about_as_often_as_asked_for() -> None:
    trainer = SelfPlayTrainer(GAME, SMALL.model_copy(update={"updates": 60, "reuse": 2.0}))
    trainer.run()
    assert 60 * 32 / trainer.buffer.added == pytest.approx(2.0, rel=0.25)


def test_the_returned_player_and_its_folder_are_one(tmp_path: Path) -> None:
    player = train_self_play(TicTacToe(), SMALL, tmp_path)
    again = type(player).from_pretrained(tmp_path, TicTacToe())
    state = TicTacToe().initial()
    assert player.choose(TicTacToe(), [state], [0]).actions == again.choose(TicTacToe(), [state], [0]).actions


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    SelfPlayTrainer(GAME, SMALL, tmp_path).run()
    with pytest.raises(ValueError, match="another run \\(simulations differ\\)"):
        SelfPlayTrainer(GAME, SMALL.model_copy(update={"simulations": 9}), tmp_path)
    with pytest.raises(ValueError, match="another run"):
        SelfPlayTrainer(TicTacToe(), SMALL, tmp_path)
    longer = SelfPlayTrainer(GAME, SMALL.model_copy(update={"checkpoint_every": 5}), tmp_path)
    assert longer.is_done
    (tmp_path / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(RecordError, match="is no checkpoint"):
        SelfPlayTrainer(GAME, SMALL, tmp_path)


def test_losses_that_are_not_finite_are_skipped_and_three_in_a_row_end_the_run(tmp_path: Path) -> None:
    trainer = SelfPlayTrainer(GAME, SMALL, tmp_path)
    trainer.run()
    before = weights(trainer)
    mover, other = pack([GAME.initial()])
    policy = np.full((1, 5), 0.2, np.float32)
    broken = Targets(mover, other, policy, np.array([np.nan], np.float32))
    trainer.buffer.add(Targets(*(np.repeat(getattr(broken, name), 500, axis=0) for name in Targets.__slots__)))
    assert np.isnan(trainer._update()["grad_norm"])
    trainer._update()
    with pytest.raises(SelfPlayDivergedError, match="3 losses in a row"):
        trainer._update()
    assert trainer.skipped == 3
    assert all((before[name] == after).all() for name, after in weights(trainer).items())
    assert SelfPlayTrainer(GAME, SMALL, tmp_path).updates == SMALL.updates


def test_minutes_end_a_run_and_count_on_after_a_resume(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"updates": 10_000, "minutes": 1 / 60})
    SelfPlayTrainer(GAME, config, tmp_path).run()
    resumed = SelfPlayTrainer(GAME, config, tmp_path)
    assert resumed.is_done
    more = SelfPlayTrainer(GAME, config.model_copy(update={"minutes": 2 / 60}), tmp_path)
    assert not more.is_done
    assert more.updates == resumed.updates


def test_the_gate_keeps_the_best_network_until_a_candidate_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.agents.selfplay.learning import loop

    verdicts = iter([False, True])

    class Verdict:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.is_better = False

        def compare(self, candidate: Any, best: Any) -> Any:
            assert (candidate.name, best.name) == ("candidate", "best")
            self.is_better = next(verdicts)
            return self

    monkeypatch.setattr(loop, "Arena", Verdict)
    config = SMALL.model_copy(update={"updates": 4, "gate": "sequential", "gate_every": 2})
    trainer = SelfPlayTrainer(GAME, config)
    first = {name: tensor.clone() for name, tensor in trainer._best.state_dict().items()}  # ty: ignore
    kept: list[bool] = []

    def look(trainer: SelfPlayTrainer, metrics: dict[str, float]) -> None:
        kept.append(all(torch.equal(first[name], tensor) for name, tensor in trainer._best.state_dict().items()))  # ty: ignore

    trainer.run(look)
    assert kept == [True] * 4  # looked at before the gate of the fourth update
    assert trainer.accepted == 1
    assert all(
        torch.equal(tensor, trainer.network.state_dict()[name])
        for name, tensor in trainer._best.state_dict().items()  # ty: ignore
    )


def test_a_run_stays_with_the_arithmetic_it_found_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.agents.selfplay.learning import loop

    config = SMALL.model_copy(update={"precision": "auto"})
    monkeypatch.setattr(loop, "faster_precision", lambda *_: "bfloat16")
    SelfPlayTrainer(GAME, config, tmp_path).run()
    monkeypatch.setattr(loop, "faster_precision", lambda *_: "float32")
    resumed = SelfPlayTrainer(GAME, config.model_copy(update={"checkpoint_every": 3}), tmp_path)
    assert resumed._precision == "bfloat16"
    assert SelfPlayTrainer(GAME, config)._precision == "float32"
