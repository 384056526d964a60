from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Shop
from sightline.webshop_env.episodes.recording import (
    Recording,
    RecordingError,
    read_recordings,
    record,
    write_recordings,
)
from sightline.webshop_env.server.shelf import EPISODES_PER_PAGE, MAX_UPLOADS, Shelf, ShelfError


@pytest.fixture(scope="module")
def recording(shop: Shop) -> Recording:
    before = shop.start(0)
    after, _ = shop.act(before, "search[desk lamp]")
    return record(shop, [(before, "search[desk lamp]")], after, episode_id="e", agent="a")


@pytest.fixture
def folder(tmp_path: Path, recording: Recording) -> Path:
    folder = tmp_path / "trajectories"
    folder.mkdir()
    write_recordings(folder / "run.jsonl", [recording])
    write_recordings(tmp_path / "secret.jsonl", [recording])
    write_recordings(folder / ".hidden.jsonl", [recording])
    write_recordings(folder / "notes.txt", [recording])
    (folder / "out.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    (folder / "deep").mkdir()
    (folder / "deep.jsonl").mkdir()
    write_recordings(folder / "deep" / "run.jsonl", [recording])
    return folder


def test_only_visible_files_of_the_folder_itself_are_listed(folder: Path) -> None:
    assert [entry.name for entry in Shelf(folder).entries()] == ["run.jsonl"]


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.jsonl", "..", ".", "", ".hidden.jsonl", "notes.txt", "out.jsonl", "loop.jsonl", "deep/run.jsonl"),
        *("deep.jsonl", "deep/../run.jsonl", "/etc/passwd", "run.jsonl\0", "\0.jsonl", "a" * 5000 + ".jsonl"),
        "\ud800.jsonl",
    ],
)
def test_no_other_name_opens_anything(folder: Path, name: str) -> None:
    with pytest.raises(ShelfError, match="there is no trajectory file"):
        Shelf(folder).episode(name, 0)


@given(st.text(max_size=40))
def test_arbitrary_names_find_nothing(shop: Shop, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    with pytest.raises(ShelfError):
        Shelf(tmp_path_factory.getbasetemp()).excerpt(name, 0)


def test_a_file_that_changes_is_read_again(folder: Path, recording: Recording) -> None:
    shelf = Shelf(folder)
    assert shelf.episode("run.jsonl", 0).agent == "a"
    write_recordings(folder / "run.jsonl", [recording.model_copy(update={"agent": "somebody else"})])
    assert shelf.episode("run.jsonl", 0).agent == "somebody else"
    with pytest.raises(ShelfError, match=r"'run\.jsonl' has no episode 1"):
        shelf.episode("run.jsonl", 1)


def test_episodes_come_in_pages(folder: Path, recording: Recording) -> None:
    count = EPISODES_PER_PAGE + 3
    write_recordings(
        folder / "many.jsonl", [recording.model_copy(update={"episode_id": str(number)}) for number in range(count)]
    )
    shelf = Shelf(folder)
    first, last = shelf.excerpt("many.jsonl", 0), shelf.excerpt("many.jsonl", EPISODES_PER_PAGE)
    assert [each.episode_id for each in (*first.recordings, *last.recordings)] == [str(n) for n in range(count)]
    assert (first.more, last.more) == (True, False)


def test_a_malformed_line_ends_the_page_and_names_no_folder(folder: Path, recording: Recording) -> None:
    (folder / "broken.jsonl").write_text(recording.model_dump_json() + "\n{}\n")
    excerpt = Shelf(folder).excerpt("broken.jsonl", 0)
    assert len(excerpt.recordings) == 1
    assert excerpt.problem is not None
    assert excerpt.problem.startswith("broken.jsonl, line 2, field")
    with pytest.raises(RecordingError, match=r"^broken\.jsonl, line 2"):
        Shelf(folder).episode("broken.jsonl", 1)


def test_every_saved_episode_gets_a_file_of_its_own(tmp_path: Path, recording: Recording) -> None:
    shelf = Shelf(tmp_path / "made" / "when needed")
    names = {shelf.save(0, lambda episode_id: recording.model_copy(update={"episode_id": episode_id})) for _ in "abc"}
    assert len(names) == 3
    assert {entry.name for entry in shelf.entries()} == names
    assert {f"{shelf.episode(name, 0).episode_id}.jsonl" for name in names} == names
    assert shelf.folder is not None
    assert {path.name for path in shelf.folder.iterdir()} == names


def test_saving_never_replaces_a_file(tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "same")
    monkeypatch.setattr("time.strftime", lambda *_: "now")
    shelf = Shelf(tmp_path)
    name = shelf.save(0, lambda _: recording)
    other = recording.model_copy(update={"agent": "other"})
    with pytest.raises(ShelfError, match="could not be saved"):
        shelf.save(0, lambda _: other)
    assert list(read_recordings(tmp_path / name)) == [recording]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("broken", ["fsync", "link"])
def test_a_failed_save_leaves_nothing_behind(
    tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(ShelfError, match="No space left on device"):
        Shelf(tmp_path).save(0, lambda _: recording)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_saved_without_a_folder(recording: Recording) -> None:
    with pytest.raises(ShelfError, match="--trajectories FOLDER"):
        Shelf(None).save(0, lambda _: recording)


def test_uploads_are_found_by_name_until_others_take_their_place(recording: Recording) -> None:
    shelf = Shelf(None)
    content = f"{recording.model_dump_json()}\n".encode()
    names = [shelf.upload(io.BytesIO(content)) for _ in range(MAX_UPLOADS + 1)]
    assert shelf.episode(names[-1], 0) == recording
    assert shelf.entries() == []
    with pytest.raises(ShelfError):
        shelf.episode(names[0], 0)


@pytest.mark.parametrize(
    "name",
    [
        "..7-agent-a.episodes.jsonl",
        "7-agent-a.jsonl",
        "7-agent-a..jsonl",
        "x.\ud800.jsonl",
        f"{'é' * 200}.x.jsonl",
        "a\0.b.jsonl",
    ],
)
def test_a_name_of_a_run_leads_to_a_recording_of_its_stages_or_nowhere(tmp_path: Path, name: str) -> None:
    stage = tmp_path / "stages" / "7-agent-a"
    stage.mkdir(parents=True)
    line = b'{"schema_version":1,"episode_id":"a","goal":0}\n'
    (stage / "episodes.jsonl").write_bytes(line)
    (tmp_path / "stages" / "metrics.jsonl").write_bytes(line)
    (tmp_path / "7-agent-a.episodes.jsonl").write_bytes(line)
    shelf = Shelf(None, tmp_path)
    assert [entry.name for entry in shelf.entries()] == ["7-agent-a.episodes.jsonl"]
    assert shelf._find("7-agent-a.episodes.jsonl") == stage / "episodes.jsonl"
    with pytest.raises(ShelfError):
        shelf._find(name)
