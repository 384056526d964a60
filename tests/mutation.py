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
import ast
import compileall
import hashlib
import json
import multiprocessing
import os
import py_compile
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, get_args

import pytest

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

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sum": "max", "ceil": "floor", "floor": "ceil"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One change of one file.

    Attributes:
        file: path from the root of the repository.
        start: place of the changed text, in characters.
        old: text that stood there.
        new: text that stands there now.
        kind: what sort of change it is.
    """

    file: str
    start: int
    old: str
    new: str
    kind: str

    def key(self) -> str:
        """Return the fault's name in the log; it is another one as soon as the file or the change is another."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        return hashlib.sha256(f"{self.file}\0{text}\0{self.start}\0{self.new}".encode()).hexdigest()[:16]

    def apply(self, source: str) -> str:
        """Return the source with the fault in it."""
        return source[: self.start] + self.new + source[self.start + len(self.old) :]

    def line(self, source: str) -> int:
        """Return the number of the first changed line."""
        return source.count("\n", 0, self.start) + 1


def possible_faults(file: str, source: str) -> list[Fault]:
    """Return every fault of the known kinds that leaves the file valid Python, in the order of the text."""
    unchanged = ast.dump(ast.parse(source))
    return [fault for fault in _candidates(file, source) if _is_fault(fault, source, unchanged)]


def _candidates(file: str, source: str) -> list[Fault]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def place(line: int, column: int) -> int:
        text = source[starts[line - 1] : starts[line] if line < len(starts) else None]
        return starts[line - 1] + len(text.encode()[:column].decode())

    found = {}
    for node, new, kind in _changes(ast.parse(source)):
        start = place(node.lineno, node.col_offset)
        old = source[start : place(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)]
        found[start, old, new] = Fault(file, start, old, new, kind)
    return [found[key] for key in sorted(found)]


def _is_fault(fault: Fault, source: str, unchanged: str) -> bool:
    try:
        return ast.dump(ast.parse(fault.apply(source))) != unchanged
    except SyntaxError:
        return False


Until = Literal["mirrored", "room", "suite"]
"""The last stage of tests that is run."""

Change = tuple[ast.expr | ast.stmt, str, str]
"""A node, the text that replaces it, and the kind of the change."""


def _changes(tree: ast.Module) -> Iterator[Change]:
    """Yield changes of what is executed; docstrings, annotations and texts are left alone, also what texts embed."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            continue
        if isinstance(node, ast.expr):
            yield from _of_expression(node)
        elif isinstance(node, ast.stmt):
            yield from _of_statement(node)
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "type_params"):
                children = value if isinstance(value, list) else [value]
                stack += [child for child in children if isinstance(child, ast.AST)]


def _of_expression(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=[operator, *rest], comparators=comparators) if type(operator) in _COMPARISONS:
            changed = ast.Compare(left, [_COMPARISONS[type(operator)](), *rest], comparators)
            yield node, f"({ast.unparse(changed)})", "comparison"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            yield node, f"({ast.unparse(ast.BinOp(left, _OPERATORS[type(operator)](), right))})", "operator"
        case ast.BoolOp(op=operator, values=values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(other, values))})", "and, or"
            yield node, f"({ast.unparse(values[0])})", "condition left out"
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield node, f"({ast.unparse(operand)})", "sign or not left out"
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield node, f"({ast.unparse(ast.IfExp(test, orelse, body))})", "branches exchanged"
        case ast.Constant(value=bool(value)):
            yield node, repr(not value), "constant"
        case ast.Constant(value=int(value)):
            yield node, repr(value + 1), "constant"
            yield node, repr(value - 1) if value else "(-1)", "constant"
        case ast.Constant(value=float(value)):
            yield node, repr(value * 1.5 if value else 0.5), "constant"
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield node, _NAMES[name], "another function"
        case ast.Call():
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[Change]:
    for position, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            rest = [each for place, each in enumerate(node.keywords) if place != position]
            yield node, ast.unparse(ast.Call(node.func, node.args, rest)), "keyword left out"
    if len(node.args) > 1 and not any(isinstance(each, ast.Starred) for each in node.args):
        first, second, *rest = node.args
        yield node, ast.unparse(ast.Call(node.func, [second, first, *rest], node.keywords)), "arguments exchanged"


def _of_statement(node: ast.stmt) -> Iterator[Change]:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            yield test, f"(not ({ast.unparse(test)}))", "condition reversed"
        case ast.Expr(value=ast.Constant()):
            return  # a docstring
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Assert() | ast.Delete():
            yield node, "pass", "statement left out"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield node, "return None", "nothing returned"
        case ast.Break():
            yield node, "continue", "loop"
        case ast.Continue():
            yield node, "break", "loop"


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
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file in files}
    unchanged = {file: ast.dump(ast.parse(source)) for file, source in sources.items()}
    shuffled = [fault for file, source in sources.items() for fault in _candidates(file, source)]
    random.Random(seed).shuffle(shuffled)
    faults = (fault for fault in shuffled if _is_fault(fault, sources[fault.file], unchanged[fault.file]))
    return list(islice(faults, count))


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
    wanted = {fault.key(): fault for fault in faults}
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
