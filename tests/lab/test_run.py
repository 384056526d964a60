"""Run folders: resumption after a kill at any moment, refusals, and what is written in the end."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml

import lab.run
from lab.run import Making, RunDirectory, RunError, read_metrics, slug, write_metrics
from sightline.retrieval import files

RECORDED = Path(__file__).with_name("runs-of-0.1")


def experiment(path: Path, computed: list[str] | None = None) -> None:
    """Two stages, the second with work that outlives a kill."""

    def first(folder: Path) -> None:
        write_metrics(folder, [{"loss": 1.0}, {"loss": 0.5}])

    def second(folder: Path) -> None:
        work = run.work_folder("2-count", "to three") / "count.txt"
        while not work.exists() or len(work.read_text()) < 3:
            with work.open("a") as file:
                file.write("x")
            if computed is not None:
                computed.append("x")
        (folder / "nested").mkdir()
        shutil.copyfile(work, folder / "nested" / "count.txt")

    run = RunDirectory(path, {"seed": 0, "growth": {"steps": 8}})
    losses = read_metrics(run.stage("1-learn", first))
    count = (run.stage("2-count", second, "to three") / "nested" / "count.txt").read_text()
    run.finish({"losses": losses, "count": count}, seeds=[0])


def test_a_stage_is_computed_once_and_its_files_are_read_from_disk(tmp_path: Path) -> None:
    computed: list[str] = []
    for _ in range(2):
        experiment(tmp_path / "run", computed)
    assert computed == ["x"] * 3
    assert json.loads((tmp_path / "run" / "results.json").read_text())["count"] == "xxx"


def contents(path: Path) -> dict[str, str]:
    """All files with their texts, without times."""
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.name not in ("manifest.json", "stage.json"):
            found[file.relative_to(path).as_posix()] = file.read_text()
    manifest = json.loads((path / "manifest.json").read_text())
    for name in ("started", "finished", "stage_seconds"):
        assert manifest.pop(name)
    return found | {"manifest": json.dumps(manifest)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, to end a process in the middle of a line")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_run_that_is_killed_at_any_line_resumes_and_ends_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.run, "distributions", lambda: ())
    monkeypatch.setattr(lab.run, "_git_commit", lambda: "0" * 40)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # slow, and what a process wrote outlives it anyway
    states = _states_of_the_disk(tmp_path / "undisturbed", lambda: experiment(tmp_path / "undisturbed"))
    assert len(states) > 30, "every folder or file that comes, grows or goes makes a state"
    whole = contents(tmp_path / "undisturbed")
    for moment in states:
        path = tmp_path / str(moment)
        _killed_at(moment, lambda path=path: experiment(path))
        complete = {file.name for file in path.glob("stages/*")}
        computed: list[str] = []
        experiment(path, computed)
        assert not ("2-count-to-three" in complete and computed), f"line {moment}: a complete stage was computed again"
        assert contents(path) == whole, f"line {moment}"


def _tracer(at_line: Callable[[int], None]) -> Callable[[FrameType, str, Any], Any]:
    """Call a function with the number of every line that is run in this file, the run folder and the atomic writer."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in (lab.run.__file__, files.__file__, __file__):
            return None
        if event == "line":
            lines += 1
            at_line(lines)
        return trace

    return trace


def _states_of_the_disk(path: Path, work: Callable[[], None]) -> list[int]:
    """Do the work; the first line at which the disk is as it was at none before."""
    states: dict[object, int] = {}

    def note(line: int) -> None:
        state = frozenset((str(file), file.stat().st_size) for file in path.rglob("*"))
        states.setdefault(state, line)

    before = sys.gettrace()
    sys.settrace(_tracer(note))
    try:
        work()
    finally:
        sys.settrace(before)
    return list(states.values())


def _killed_at(moment: int, work: Callable[[], None]) -> None:
    """Do the work in a process that dies at a line, without clean-up."""
    process = os.fork()
    if process == 0:
        sys.settrace(_tracer(lambda line: os._exit(9) if line == moment else None))
        work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9


def test_a_stage_that_fails_leaves_nothing_and_runs_again(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", {"seed": 0})

    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    for _ in range(2):  # a second time in the same process as well
        with pytest.raises(KeyboardInterrupt):
            run.stage("a", fail)
    assert not (run.path / "stages" / "a").exists()
    folder = run.stage("a", lambda folder: (folder / "whole.txt").touch())
    assert {file.name for file in folder.iterdir()} == {"whole.txt", "stage.json"}


def test_two_stages_never_share_a_folder(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", {})
    for _ in range(2):
        run.stage("a", lambda folder: (folder / "joy").touch(), "b, c")
    for stage, variant in (("a", "b c"), ("a-b", "c")):
        with pytest.raises(ValueError, match=r"and \('a', 'b, c'\) would be one folder, a-b-c"):
            run.stage(stage, lambda folder: None, variant)


def test_a_stage_is_not_complete_before_all_of_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run", {})
    synced: set[int] = set()
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.add(os.fstat(descriptor).st_ino), real(descriptor)))

    def compute(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")

    folder = run.stage("a", compute)
    parts = [folder, folder.parent, folder / "deep", folder / "deep" / "file", folder / "stage.json"]
    assert {part.stat().st_ino for part in parts} <= synced


def test_other_settings_are_refused_and_named_one_by_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"seed": 0, "growth": {"steps": 8, "batch": 4}, "names": ["a"], "old": None}
    RunDirectory(tmp_path / "run", settings)
    other = {"seed": 0, "growth": {"steps": 9, "batch": 4}, "names": ["b"], "new": None}
    with pytest.raises(RunError) as raised:
        RunDirectory(tmp_path / "run", other)
    message = str(raised.value)
    assert "growth.steps: 8 then, 9 now; names: ['a'] then, ['b'] now" in message
    assert "new: nothing then, None now" in message
    assert "old: None then, nothing now" in message
    assert "batch" not in message
    assert "--name" in message


def test_a_refused_start_changes_nothing(tmp_path: Path) -> None:
    experiment(tmp_path / "run")
    before = contents(tmp_path / "run")
    unfinished = tmp_path / "run" / "unfinished" / "3"
    unfinished.mkdir(parents=True)
    with pytest.raises(RunError):
        RunDirectory(tmp_path / "run", {"seed": 1})
    assert unfinished.is_dir()
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("app", ["phase2", "jepa", "tamiyo"])
def test_a_run_of_version_0_1_is_refused_by_its_version_and_left_alone(tmp_path: Path, app: str) -> None:
    shutil.copytree(RECORDED / app, tmp_path / app)
    before = {file: file.read_bytes() for file in (tmp_path / app).rglob("*") if file.is_file()}
    settings = yaml.safe_load((tmp_path / app / "config.yaml").read_text())
    for now in (settings, {"seed": 1}):  # though the settings are the same
        with pytest.raises(RunError, match=rf"{app} was made by version 0\.1 .* choose another --name, or delete"):
            RunDirectory(tmp_path / app, now)
    assert {file: file.read_bytes() for file in (tmp_path / app).rglob("*") if file.is_file()} == before


def test_a_run_of_version_0_1_that_had_finished_no_stage_is_refused_too(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "tamiyo", tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    shutil.rmtree(tmp_path / "run" / "stages")
    with pytest.raises(RunError, match=r"one of version 0\.1 that finished nothing. Choose another --name"):
        RunDirectory(tmp_path / "run", yaml.safe_load((RECORDED / "tamiyo" / "config.yaml").read_text()))


def test_a_run_of_a_later_version_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", {})
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(RunError, match="a version with layout 99"):
        RunDirectory(tmp_path / "run", {})


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "novel.txt").write_text("once upon a time")
    with pytest.raises(RunError, match=r"holds unfinished but no manifest\.json: it is no run"):
        RunDirectory(tmp_path, {})
    assert (tmp_path / "unfinished" / "novel.txt").read_text() == "once upon a time"
    assert [file.name for file in tmp_path.iterdir()] == ["unfinished"]


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml"])
@pytest.mark.parametrize("content", ["{", "[1]", "\x00", "a: ]"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    RunDirectory(tmp_path / "run", {"seed": 0})
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(RunError, match=rf"{name} is damaged"):
        RunDirectory(tmp_path / "run", {"seed": 0})


def test_a_run_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first = RunDirectory(tmp_path / "run", {})
    with pytest.raises(RunError, match="in use by another process"):
        RunDirectory(tmp_path / "run", {})
    del first
    RunDirectory(tmp_path / "run", {})


def test_finish_gathers_metrics_seconds_and_notes(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", {}, smoke=True)
    for stage, variant in (("b", ""), ("a", "second, half"), ("a", "first")):
        run.stage(stage, lambda folder, text=variant: write_metrics(folder, [{"text": text}]), variant)
    run.finish({"success": 0.5}, seeds=[0])
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"stage": "a-first", "text": "first"},
        {"stage": "a-second-half", "text": "second, half"},
        {"stage": "b", "text": ""},
    ]
    assert json.loads((run.path / "results.json").read_text()) == {"success": 0.5}
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert (manifest["seeds"], manifest["smoke"], manifest["schema_version"]) == ([0], True, 2)
    assert list(manifest["stage_seconds"]) == ["a-first", "a-second-half", "b"]
    assert run.seconds == sum(manifest["stage_seconds"].values())
    assert run.stage_seconds("a", "second, half") == manifest["stage_seconds"]["a-second-half"]


def test_work_that_outlives_a_kill_goes_when_its_stage_is_complete(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", {})
    run.stage("a", lambda folder: (run.work_folder("a") / "half.txt").touch())
    assert not list(run.path.glob("work/*"))
    (run.work_folder("a") / "left by a kill just before").touch()
    run.stage("a", lambda folder: None)
    assert not list(run.path.glob("work/*"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("routed predictor", "routed-predictor"),
        ("lexical actor, query RAG", "lexical-actor-query-RAG"),
        ("baseline_rag", "baseline_rag"),
        ("../up", "..-up"),
        ("a/b", "a-b"),
    ],
)
def test_a_variant_becomes_part_of_a_folder_s_name(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize(("smoke", "said"), [(False, "2-tea: tea is made, four minutes"), (True, "2-tea: tea is made")])
def test_a_stage_says_what_it_makes_and_in_a_full_run_how_long_that_takes(
    smoke: bool, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="lab.run")
    making = {"2-tea": Making("tea is made", "four minutes")}
    run = RunDirectory(tmp_path / "run", {}, smoke=smoke, making=making)
    for stage in ("1-water", "2-tea"):
        run.stage(stage, lambda folder: None)
    assert [message for message in caplog.messages if "finished" not in message] == ["1-water: started", said]
