"""Put faults into core files, one at a time, and list those that no test notices. For whoever changes such a file.

    uv run tests/mutation.py packages/agents/src/sightline/agents/evaluation/*.py --random 40 --seed 7
    uv run tests/mutation.py $(cat tests/faults/agents.core) --random 40 --seed 20261129 --until room  # core files
    uv run tests/mutation.py FILE ... --random 40 --seed 7 --workers 2 --log a.jsonl   # again: goes on where it stopped
    uv run tests/mutation.py --chosen tests/faults/statistics.toml --until mirrored    # faults written by hand

Random faults are drawn, by the seed, from all places of the files where an operator, a constant, a condition, a
statement or a keyword could be another. Chosen ones are a TOML file of `[[fault]]` tables with `file`, `old` (which
occurs once in the file) and `new`. Nothing of the working tree is touched: every worker has a copy of it, and tests run
there on the copy's sources: first the mirrored ones (`tests/room/test_name*.py` for `room/name.py`), then the room's,
then the package's whole suite, then what `--also` names; `--until` stops earlier. Test processes are forked from one
that has loaded the large libraries already. Faults that change nothing that anyone could see are listed among
the survivors; who keeps the list says which they are.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import multiprocessing
import os
import py_compile
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, get_args

import pytest
from mutation_operators import Fault, shuffled_faults

ROOT = Path(__file__).resolve().parents[1]
SLACK_SECONDS = 20
"""A run of tests may take three times the CPU seconds it takes without a fault, and this many more; a run that only
waits may last ten times as long. Then the fault is noticed."""

PRELOADED = [
    "pytest",
    "hypothesis",
    "anyio.pytest_plugin",
    "pytest_cov.plugin",
    "typeguard",
    "xdist.plugin",
    "numpy",
    "pydantic",
    "scipy.stats",
    "sklearn",
    "torch",
    "transformers",
    "peft",
    "numba",
]
"""What takes long to import: done once, not with every fault."""

Until = Literal["mirrored", "room", "suite"]
"""The last stage of tests that is run."""


def chosen_faults(path: Path) -> list[Fault]:
    """Read faults that were written by hand.

    Raises:
        ValueError: an old text does not occur exactly once in its file.
    """
    faults = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]:
        source = (ROOT / entry["file"]).read_text(encoding="utf-8")
        if source.count(entry["old"]) != 1:
            raise ValueError(f"{entry['old']!r} occurs {source.count(entry['old'])} times in {entry['file']}, not once")
        faults.append(Fault(entry["file"], source.index(entry["old"]), entry["old"], entry["new"], "chosen"))
    return faults


def stages(file: str, also: Sequence[str], *, until: Until = "suite") -> list[list[str]]:
    """Return which tests to run for a file, one list of paths after another.

    Args:
        file: path of the source, from the root of the repository.
        also: further tests, which come last.
        until: the last stage of those that the file has.

    Raises:
        ValueError: only the mirrored tests are wanted, and there are none.
    """
    path = Path(file)
    if path.parts[0] == "apps":  # apps/lab/run.py is tested by tests/lab/test_run*.py, and by all of tests/lab
        room = suite = Path("tests", *path.parts[1:-1])
    else:
        package = Path(*path.parts[:2])
        inside = path.relative_to(package / "src" / "sightline").parts[1:]
        suite = package / "tests"
        room = suite.joinpath(*inside[:-1])
    mirrored = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / room).glob(f"test_{path.stem}*.py"))
    if until == "mirrored":
        if not mirrored:
            raise ValueError(f"{file} has no mirrored test {room / f'test_{path.stem}*.py'}")
        return [mirrored]
    others = room != suite and len(list((ROOT / room).rglob("test_*.py"))) > len(mirrored)
    found = [paths for paths in (mirrored, [room.as_posix()] * others) if paths]
    if until == "suite" or not found:
        found.append([suite.as_posix()])
    return [*found, *([list(also)] if also else [])]


class Copy:
    """A copy of the working tree in which tests run on the copy's own sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)
        self._sources = [str(path) for path in sorted(folder.glob("packages/*/src"))]
        for sources in self._sources:  # a compiled file counts for the very source that it was made of
            compileall.compile_dir(sources, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        self._environment = {
            "PYTHONPATH": os.pathsep.join(self._sources),  # goes before the sources that are installed
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / ".hypothesis"),
        }

    def run(self, tests: Sequence[str], limit: float | None) -> tuple[str, str, float]:
        """Run tests until one fails.

        Args:
            tests: paths of the tests.
            limit: CPU seconds that they may take.

        Returns:
            `"passed"`, `"failed"` or `"too long"`, the first test that failed or the end of what was printed, and the
            CPU seconds that it took.
        """
        printed = self.folder / "printed.txt"
        context = multiprocessing.get_context("forkserver")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_run_pytest,
            args=(self.folder, self._sources, self._environment, list(tests), printed, limit, sender),
        )
        process.start()
        sender.close()
        try:
            answered = receiver.poll(None if limit is None else 10 * limit)
            code, seconds = receiver.recv() if answered else (None, 0.0)
        except EOFError:  # it was ended, by the limit or by the fault
            code, seconds = None, 0.0
        if code is None and process.is_alive():
            with contextlib.suppress(ProcessLookupError):  # it ends by itself just now
                os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        output = printed.read_text(encoding="utf-8", errors="replace")
        if code is None:
            ended = process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
            return ("too long" if ended else "failed"), output[-500:], seconds
        failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return ("failed" if code else "passed"), (failed[0] if failed else output[-500:]), seconds

    def test(
        self, fault: Fault, planned: Sequence[list[str]], limits: dict[tuple[str, ...], float]
    ) -> dict[str, str | int | float]:
        """Put the fault in, run the planned tests until one notices it, and take the fault out again.

        Args:
            fault: what to put in.
            planned: paths of tests, one list after the other.
            limits: tests -> CPU seconds that they may take; those missing are measured without the fault.

        Raises:
            SystemExit: tests fail without any fault.
        """
        target = self.folder / fault.file
        source = target.read_text(encoding="utf-8")
        used, outcome, by = 0.0, "survived", ""
        for tests in planned:
            if tuple(tests) not in limits:
                result, shown, seconds = self.run(tests, None)
                if result != "passed":
                    raise SystemExit(f"without any fault {' '.join(tests)} fails: {shown}")
                limits[tuple(tests)] = 3 * seconds + SLACK_SECONDS
            target.write_text(fault.apply(source), encoding="utf-8")
            try:
                result, by, seconds = self.run(tests, limits[tuple(tests)])
            finally:
                target.write_text(source, encoding="utf-8")
            used += seconds
            if result != "passed":
                outcome = "noticed" if result == "failed" else "noticed (too long)"
                break
        by = "" if outcome == "survived" else by
        return asdict(fault) | {"line": fault.line(source), "outcome": outcome, "by": by, "seconds": round(used, 1)}


def _run_pytest(
    folder: Path,
    sources: list[str],
    environment: Mapping[str, str],
    tests: list[str],
    printed: Path,
    limit: float | None,
    result: Connection,
) -> None:
    """Run tests in this process, which is a fork of its own, and send the exit status and the CPU seconds."""
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # tests start their processes as in any other process
    if limit is not None:
        seconds = int(limit) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    os.environ.update(environment)
    sys.dont_write_bytecode = True
    sys.path[:0] = sources
    os.chdir(folder)
    with printed.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Tests' own time-outs are of wall time, which other work on the machine uses up as well.
    preloaded = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--tb=no", "--timeout=0", "-W", preloaded, *tests])
    sys.stdout.flush()
    result.send((int(code), time.process_time()))


def draw(files: Sequence[str], count: int, seed: int) -> list[Fault]:
    """Return random faults of the files, each place and change as likely as any other."""
    return list(islice(shuffled_faults({file: (ROOT / file).read_text("utf-8") for file in files}, seed), count))


def run_faults(
    faults: Sequence[Fault], planned: Mapping[str, list[list[str]]], log: Path, *, workers: int = 1
) -> list[dict]:
    """Try all faults that are not in the log yet, and return the rows of all.

    Args:
        faults: to try.
        planned: file -> its `stages`.
        log: JSON Lines that grow by one row with each fault tried.
        workers: how many are tried at a time.
    """
    wanted = {fault.key((ROOT / fault.file).read_text("utf-8")): fault for fault in faults}
    rows = {row["key"]: row for row in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    left = [key for key in wanted if key not in rows]
    writing = threading.Lock()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(min(workers, len(left))):
            copies.put(Copy(Path(folder) / str(number)))
        limits: dict[tuple[str, ...], float] = {}

        def attempt(key: str) -> None:
            copy, fault = copies.get(), wanted[key]
            try:
                row = {"key": key} | copy.test(fault, planned[fault.file], limits)
            finally:
                copies.put(copy)
            with writing, log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                rows[key] = row
            print(f"{row['outcome']:18s} {row['file']}:{row['line']}  {row['kind']}", flush=True)

        with ThreadPoolExecutor(max(1, workers)) as pool:
            list(pool.map(attempt, left))
    return [rows[key] for key in wanted]


def main() -> None:
    """Run what the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="sources to put random faults into")
    parser.add_argument("--random", type=int, default=0, help="how many random faults")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random faults")
    parser.add_argument("--chosen", type=Path, help="TOML file of faults written by hand")
    parser.add_argument("--until", choices=get_args(Until), default="suite", help="the last stage of tests")
    parser.add_argument("--also", nargs="*", default=[], help="further tests, for example tests/test_phase2.py")
    parser.add_argument("--workers", type=int, default=1, help="faults at a time, each in a copy of its own")
    parser.add_argument("--log", type=Path, default=Path("mutation.jsonl"), help="results, one JSON object a line")
    options = parser.parse_args()
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    files = [path.resolve().relative_to(ROOT).as_posix() for path in options.files if path.name != "__init__.py"]
    faults = draw(files, options.random, options.seed)
    if options.chosen:
        faults += chosen_faults(options.chosen)
    planned = {file: stages(file, options.also, until=options.until) for file in {fault.file for fault in faults}}
    rows = run_faults(faults, planned, options.log, workers=options.workers)
    survivors = [row for row in rows if row["outcome"] == "survived"]
    print(f"\n{len(rows) - len(survivors)} of {len(rows)} faults were noticed; the others:")
    for row in survivors:
        print(f"{row['file']}:{row['line']}  {row['kind']}\n    - {row['old']}\n    + {row['new']}")


if __name__ == "__main__":
    main()
