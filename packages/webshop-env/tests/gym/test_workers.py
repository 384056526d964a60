from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sightline.webshop_env import Catalogue, Shop, SnapshotError, build_goals, expert_action
from sightline.webshop_env.gym.vector import WebShopVectorEnv
from sightline.webshop_env.gym.workers import WorkerError


@pytest.fixture(scope="module")
def generated() -> Shop:
    catalogue = Catalogue.generate(60, seed=1)
    return Shop(catalogue, build_goals(catalogue, "synthetic", 0))


@pytest.fixture(scope="module")
def workers(generated: Shop) -> Iterator[WebShopVectorEnv]:
    envs = WebShopVectorEnv(3, shop=generated, num_workers=2, step_limit=6)
    yield envs
    envs.close()
    assert not multiprocessing.active_children()


def test_workers_do_what_one_process_does(generated: Shop, workers: WebShopVectorEnv) -> None:
    here = WebShopVectorEnv(3, shop=generated, step_limit=6)
    assert str(workers.reset(seed=4)) == str(here.reset(seed=4))
    rng = random.Random(4)
    ended = 0
    for _ in range(30):
        assert workers.states == here.states
        actions = [expert_action(generated, state) if rng.random() < 0.8 else "search[<r>]" for state in workers.states]
        result = here.step(actions)
        assert str(workers.step(actions)) == str(result)
        ended += int((result[2] | result[3]).sum())
    assert ended > 5
    assert here.restore(workers.snapshot()) == workers.restore(workers.snapshot())
    assert str(workers.infos) == str(here.infos)


def test_an_error_in_a_worker_keeps_its_kind_and_the_episodes(workers: WebShopVectorEnv) -> None:
    workers.reset(seed=0)
    before = workers.states
    with pytest.raises(ValueError, match="did you mean 'goal'"):
        workers.reset(options={"goals": 1})
    with pytest.raises(SnapshotError):
        workers.restore([b"", None, None])
    assert workers.states == before
    assert workers.step(["search[x]"] * 3)[0][0].startswith("Instruction:")


def test_a_worker_that_cannot_begin_says_why(generated: Shop) -> None:
    class Unsendable(Shop):
        def __reduce__(self):
            raise TypeError("not this one")

    with pytest.raises(TypeError, match="not this one"):
        WebShopVectorEnv(2, shop=Unsendable(generated.catalogue, generated.goals), num_workers=2)
    assert not [child for child in multiprocessing.active_children() if child.exitcode is not None]


def test_a_dead_worker_is_named_and_the_others_are_ended(generated: Shop, workers: WebShopVectorEnv) -> None:
    spared = {child.pid for child in multiprocessing.active_children()}
    envs = WebShopVectorEnv(2, shop=generated, num_workers=1)
    envs.reset(seed=0)
    (victim,) = [child for child in multiprocessing.active_children() if child.pid not in spared]
    os.kill(int(victim.pid or 0), signal.SIGKILL)
    victim.join()
    with pytest.raises(WorkerError, match=r"episodes 0 to 1 died \(exit code -9\)"):
        envs.step(["x", "x"])
    with pytest.raises(RuntimeError, match="closed"):
        envs.step(["x", "x"])
    assert {child.pid for child in multiprocessing.active_children()} == spared
    assert workers.states  # of another vector environment


def test_an_interrupted_call_is_not_answered_by_the_next(
    generated: Shop, workers: WebShopVectorEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = WebShopVectorEnv(1, shop=generated, num_workers=1)
    envs.reset(seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(envs, "_collect", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            envs.step(["x"])
    with pytest.raises(WorkerError, match="out of step"):
        envs.step(["x"])
    assert envs.closed


def test_workers_end_with_a_parent_that_is_killed() -> None:
    code = (
        "import multiprocessing, os, signal\n"
        "from sightline.webshop_env import Catalogue\n"
        "from sightline.webshop_env.gym.vector import WebShopVectorEnv\n"
        "if __name__ == '__main__':\n"
        "    envs = WebShopVectorEnv(1, Catalogue.generate(30), goals='synthetic', num_workers=1)\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # The worker holds the pipe's other end, so reading returns only when it has ended, too.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0
