from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.store import syncing
from sightline.retrieval.store.filters import scalar_from, stored_scalar

ENCODER = HashingEncoder(16)


class CountingEncoder:
    name, dimension = ENCODER.name, ENCODER.dimension

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts):
        self.texts += texts
        return ENCODER.encode(texts)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def contents(store: LocalEmbeddingStore) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for document in sorted(store.documents({"folder": "docs"}), key=lambda one: int(str(one.metadata["part"]))):
        found.setdefault(str(document.metadata["path"]), []).append(document.content)
    return found


def test_added_changed_and_removed_files_are_found_by_their_content(tmp_path: Path):
    docs, encoder = tmp_path / "docs", CountingEncoder()
    write(docs, {"a.md": "grey lamp\n\n$9", "b/c.md": "coffee mug", "empty.md": " \n", "d.txt": "left out"})
    with LocalEmbeddingStore(encoder, tmp_path / "store") as store:
        store.add([Document(id="other", content="not of the folder")])
        told: list[tuple[int, int]] = []
        report = store.sync(docs, "**/*.md", progress=lambda done, total: told.append((done, total)))
        assert (report.added, report.skipped, report.unchanged) == (("a.md", "b/c.md"), ("empty.md",), 0)
        assert told == [(1, 3), (2, 3), (3, 3)]
        assert contents(store) == {"a.md": ["grey lamp\n\n$9"], "b/c.md": ["coffee mug"]}
        encoder.texts.clear()
        write(docs, {"a.md": "grey lamp\n\na second part\n\na third part", "new.md": "vase"})
        (docs / "b" / "c.md").unlink()
        os.utime(docs / "a.md", (0, 0))  # neither times nor sizes decide
        report = store.sync(docs, "**/*.md")
        assert (report.added, report.changed, report.removed) == (("new.md",), ("a.md",), ("b/c.md",))
        assert contents(store)["a.md"] == ["grey lamp", "a second part", "a third part"]
        encoder.texts.clear()
        again = store.sync(docs, "**/*.md")
        assert (again.unchanged, again.added, again.changed, again.removed) == (2, (), (), ())
        assert encoder.texts == []
        assert store.sync(docs, "**/*.md", version="2").changed == ("a.md", "new.md")
        assert store.get("other").content == "not of the folder"


def test_a_file_that_shrinks_leaves_no_part_behind_and_one_that_is_no_text_is_removed(tmp_path: Path):
    docs = tmp_path / "docs"
    write(docs, {"a.md": "one part\n\nanother part", "b.md": "bytes"})
    with LocalEmbeddingStore(ENCODER) as store:
        store.sync(docs)
        write(docs, {"a.md": "one part"})
        (docs / "b.md").write_bytes(b"\xff\xfe\x00")
        report = store.sync(docs)
        assert (report.changed, report.removed) == (("a.md",), ("b.md",))
        assert contents(store) == {"a.md": ["one part"]}


def test_a_folder_that_is_gone_is_no_empty_folder(tmp_path: Path):
    write(tmp_path / "docs", {"a.md": "text"})
    with LocalEmbeddingStore(ENCODER) as store:
        store.sync(tmp_path / "docs")
        (tmp_path / "docs").rename(tmp_path / "elsewhere")
        with pytest.raises(NotADirectoryError, match="was not made equal"):
            store.sync(tmp_path / "docs")
        assert len(store) == 1


def test_a_file_that_cannot_be_read_stays_as_it_was_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "docs", {"a.md": "text", "b.md": "other"})
    with LocalEmbeddingStore(ENCODER) as store:
        store.sync(tmp_path / "docs")
        read = Path.read_bytes

        def refusing(path: Path) -> bytes:
            if path.name == "a.md":
                raise PermissionError("no")
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", refusing)
        report = store.sync(tmp_path / "docs")
        assert list(report.failed) == ["a.md"]
        assert set(contents(store)) == {"a.md", "b.md"}


def test_a_store_within_the_folder_is_left_out(tmp_path: Path):
    write(tmp_path / "docs", {"a.md": "text"})
    with LocalEmbeddingStore(ENCODER, tmp_path / "docs" / "store") as store:
        assert store.sync(tmp_path / "docs").added == ("a.md",)
        assert store.sync(tmp_path / "docs").unchanged == 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "x", "one two\n\nthree four", "five six"])),
        max_size=5,
    )
)
def test_after_any_changes_the_store_is_that_of_a_first_sync(tmp_path_factory: pytest.TempPathFactory, states: list):
    docs = tmp_path_factory.mktemp("sync") / "docs"
    docs.mkdir()
    with LocalEmbeddingStore(ENCODER) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncing, "_PIECES_AT_ONCE", 2)
        for files in states:
            for path in docs.iterdir():
                path.unlink()
            write(docs, files)
            store.sync(docs)
        with LocalEmbeddingStore(ENCODER) as anew:
            anew.sync(docs)
            assert list(store.documents()) == list(anew.documents())


@pytest.mark.parametrize("scalar", [None, True, False, 3, 0.5, "t", "\ud800"])
def test_what_is_stored_of_a_scalar_comes_back(scalar):
    assert scalar_from(stored_scalar(scalar)) == scalar


SYNC = """
import sys
from sightline.retrieval import HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.store import syncing
syncing._PIECES_AT_ONCE = 20
with LocalEmbeddingStore(HashingEncoder(16), sys.argv[2], lock_timeout=20) as store:
    print("ready", flush=True)
    store.sync(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_leave_every_file_whole_and_the_next_sync_ends_it(tmp_path: Path):
    rng = random.Random(0)
    docs = tmp_path / "docs"
    for kill in range(20):
        texts = {f"{n % 7}/{n}.md": f"one {kill} {n}\n\ntwo {kill} {n}\n\nthree {kill} {n}" for n in range(300)}
        write(docs, texts)
        process = subprocess.Popen([sys.executable, "-c", SYNC, docs, tmp_path / "store"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with LocalEmbeddingStore(ENCODER, tmp_path / "store", lock_timeout=20) as store:
            for path, parts in contents(store).items():
                assert len(parts) == 3, path
                assert len({part.split()[1] for part in parts}) == 1, path  # all of one version
            assert store.verify() == []
    with LocalEmbeddingStore(ENCODER, tmp_path / "store") as store:
        store.sync(docs)
        assert contents(store) == {path: text.split("\n\n") for path, text in texts.items()}
