"""Jobs in worker processes: order, progress, failures, and going on after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.jobs import Job, Workers
from lab.run import RunDirectory
from lab.settings import WorkerSettings
from sightline.agents.rollout import ProcessEngine, RolloutError

FOLDER = Path(__file__).parent
APPS = FOLDER.parents[1] / "apps"


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import jobs_at_work

    return jobs_at_work


def test_jobs_are_done_in_workers_of_one_thread_and_one_that_needs_another_comes_after_it(
    tmp_path, at_work, monkeypatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run = RunDirectory(tmp_path / "run", {})

    def jobs(work: Path) -> list[Job]:
        numbers = Job(work / "numbers", 20, at_work.count, (work / "numbers", 20))
        total = Job(work / "sum", 1, at_work.sum_up, (work / "numbers", work / "sum"), after=numbers)
        return [total, numbers, Job(work / "threads", 1, at_work.threads, (work / "threads",))]

    workers = Workers(ProcessEngine(2))
    folder = workers.stage(run, "1-sum", jobs)
    assert (folder / "sum").read_text() == "190\n"
    assert (folder / "threads").read_text() == "1\n"
    assert not list(run.path.glob("work/*"))
    assert workers.stage(run, "1-sum", lambda work: pytest.fail("is complete")) == folder


def test_the_workers_of_a_block_stay_from_stage_to_stage(tmp_path, at_work) -> None:
    run = RunDirectory(tmp_path / "run", {})

    def jobs(work: Path) -> list[Job]:
        return [Job(work / "process", 1, at_work.tell_process, (work / "process",))]

    with Workers.of(WorkerSettings(workers=1)) as workers:
        folders = [workers.stage(run, stage, jobs) for stage in ("1-one", "2-other")]
    first, second = ((folder / "process").read_text() for folder in folders)
    assert first == second != f"{os.getpid()}\n"
    with Workers.of(WorkerSettings(engine="in-process")) as workers:
        folder = workers.stage(run, "3-here", jobs)
    assert (folder / "process").read_text() == f"{os.getpid()}\n"


def test_a_job_that_fails_ends_the_stage_and_what_was_done_is_kept_for_the_next_start(tmp_path, at_work) -> None:
    run = RunDirectory(tmp_path / "run", {})

    def jobs(work: Path, last) -> list[Job]:
        good = Job(work / "good", 2, at_work.count, (work / "good", 2))
        return [good, Job(work / "bad", 1, last, (work / "bad",), after=good)]

    workers = Workers(ProcessEngine(1))
    with pytest.raises(RolloutError, match="ValueError: no bad today"):
        workers.stage(run, "1-work", lambda work: jobs(work, at_work.fail))
    assert not (run.path / "stages" / "1-work").exists()
    assert (run.work_folder("1-work") / "good").read_text() == "0\n1\n"
    folder = workers.stage(run, "1-work", lambda work: jobs(work, at_work.greet))
    assert (folder / "good").read_text() == "0\n1\n"


def test_a_worker_that_dies_ends_the_stage(tmp_path, at_work) -> None:
    run = RunDirectory(tmp_path / "run", {})
    with pytest.raises(RolloutError, match="two workers died over the item"):
        Workers(ProcessEngine(1)).stage(run, "1-work", lambda work: [Job(work / "x", 1, at_work.die, (work / "x",))])
    assert not (run.path / "stages" / "1-work").exists()


def test_a_job_that_leaves_fewer_lines_than_it_promised_or_never_began_does_not_complete_a_stage(
    tmp_path, at_work
) -> None:
    run = RunDirectory(tmp_path / "run", {})
    elsewhere = Job(tmp_path / "other", 1, at_work.count, (tmp_path / "other", 1))

    def jobs(work: Path) -> list[Job]:
        return [
            Job(work / "short", 3, at_work.count, (work / "short", 2)),
            Job(work / "never", 1, at_work.count, (work / "never", 1), after=elsewhere),
        ]

    with pytest.raises(RuntimeError, match="fewer lines than their jobs promised: short, nev"):
        Workers(ProcessEngine(1)).stage(run, "1-work", jobs)
    assert not (run.path / "stages" / "1-work").exists()


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{apps!r}, {folder!r}]

if __name__ == "__main__":
    from jobs_at_work import count
    from lab.jobs import Job, Workers
    from lab.run import RunDirectory
    from sightline.agents.rollout import ProcessEngine
    run = RunDirectory(Path({run!r}), {{}})
    def jobs(work):
        return [Job(work / name, 40, count, (work / name, 40, 0.02)) for name in ("a", "b")]
    Workers(ProcessEngine(2)).stage(run, "1-count", jobs)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process without its knowing")
def test_after_a_kill_workers_are_gone_and_a_new_start_goes_on_where_they_were(tmp_path: Path) -> None:
    script, path = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT.format(apps=str(APPS), folder=str(FOLDER), run=str(path)))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = path / "work" / "1-count"
    deadline = time.monotonic() + 120
    while not (work / "a").exists() or len((work / "a").read_text().split()) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = (work / "a").stat().st_mtime_ns
    done = (work / "a").read_text()
    while True:  # workers may write a last line before they notice
        time.sleep(0.2)
        now = (work / "a").stat().st_mtime_ns
        if now == before:
            break
        assert time.monotonic() < deadline, "workers outlived the process that they work for"
        before, done = now, (work / "a").read_text()
    assert len(done.split()) < 40
    subprocess.run([sys.executable, str(script)], check=True, stdout=subprocess.DEVNULL, timeout=120)
    lines = [(path / "stages" / "1-count" / name).read_text().split() for name in ("a", "b")]
    assert lines == [[str(number) for number in range(40)]] * 2
