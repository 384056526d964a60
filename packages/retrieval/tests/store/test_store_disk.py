from __future__ import annotations

import json
import logging
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import (
    DuplicateDocumentError,
    EncoderMismatchError,
    ReadOnlyStoreError,
    StoreDamagedError,
    StoreLockedError,
)

ENCODER = HashingEncoder(8)


def documents(numbers: Iterable[int], text: str = "text") -> list[Document]:
    return [Document(id=f"d{number}", content=f"{text} {number}", metadata={"n": number}) for number in numbers]


def contents(folder: Path) -> dict[str, str]:
    """Every document of a store, after checking that each is found by its own vector and by its metadata."""
    with LocalEmbeddingStore(ENCODER, folder) as store:
        found = list(store.documents())
        assert len(found) == len(store)
        everything = store.search_batch([d.content for d in found], top_k=max(len(found), 1))
        for document, hits in zip(found, everything, strict=True):
            assert [hit.score for hit in hits if hit.document == document] == [pytest.approx(1.0, abs=1e-5)]
        for document in found[:10]:
            assert document in [hit.document for hit in store.search(np.ones(8), where=document.metadata, top_k=999)]
        return {document.id: document.content for document in found}


def test_a_store_comes_back_as_it_was(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path / "new" / "store") as store:
        store.add(documents(range(20)))
        store.delete(["d3"])
        store.upsert(documents([4], "other"))
        expected = store.search("text 7", top_k=99), store.search("other", top_k=99, where={"n": {"<": 9}})
    with LocalEmbeddingStore(ENCODER, str(tmp_path / "new" / "store")) as store:
        assert (store.search("text 7", top_k=99), store.search("other", top_k=99, where={"n": {"<": 9}})) == expected
        assert len(store) == 19
        with pytest.raises(DuplicateDocumentError, match="'d4'"):
            store.add(documents([4]))


def test_an_empty_store_survives_the_disk(tmp_path: Path):
    LocalEmbeddingStore(ENCODER, tmp_path).close()
    assert contents(tmp_path) == {}


def test_a_second_writer_is_told_who_is_in_its_way(tmp_path: Path):
    code = (
        "import sys; from sightline.retrieval import HashingEncoder, LocalEmbeddingStore; "
        "LocalEmbeddingStore(HashingEncoder(8), sys.argv[1])"
    )
    with LocalEmbeddingStore(ENCODER, tmp_path):
        with pytest.raises(StoreLockedError, match="read_only=True"):
            LocalEmbeddingStore(ENCODER, tmp_path)
        other = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
        assert "StoreLockedError" in other.stderr
    LocalEmbeddingStore(ENCODER, tmp_path).close()


def test_a_store_that_is_forgotten_lets_go_of_its_folder(tmp_path: Path):
    store = LocalEmbeddingStore(ENCODER, tmp_path)
    with pytest.raises(StoreLockedError):
        LocalEmbeddingStore(ENCODER, tmp_path)
    del store
    with LocalEmbeddingStore(ENCODER, tmp_path) as another:
        assert len(another) == 0


def test_a_reader_stays_on_its_state_until_it_refreshes(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path) as writer:
        writer.add(documents(range(5)))
        with LocalEmbeddingStore(ENCODER, tmp_path, read_only=True) as reader:
            writer.add(documents(range(5, 9)))
            writer.delete(["d0"])
            assert len(reader) == 5
            assert len(reader.search("text", top_k=99)) == len(reader.search("text", top_k=99, where={})) == 5
            assert "d0" in reader
            assert "d5" not in reader
            assert reader.refresh()
            assert not reader.refresh()
            assert len(reader.search("text", top_k=99)) == 8
            assert not writer.refresh()


def test_a_reader_finds_the_rows_again_after_a_compaction(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path) as writer:
        writer.add(documents(range(9)))
        writer.delete(["d0", "d4"])
        with LocalEmbeddingStore(ENCODER, tmp_path, read_only=True) as reader:
            for round_number in range(3):
                writer.upsert(documents([8], f"round {round_number}"))
                writer.compact()
                assert reader.get("d8").content == f"round {round_number} 8"
                assert [hit.document.id for hit in reader.search("text 5", top_k=1)] == ["d5"]
        assert {path.name for path in tmp_path.glob("vectors-*")} == {"vectors-000003.f32"}


def test_a_reader_works_without_a_writer_and_cannot_write(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path) as writer:
        writer.add(documents(range(3)))
    with LocalEmbeddingStore(ENCODER, tmp_path, read_only=True) as reader:
        assert len(reader.search("text", top_k=9)) == 3
        for change in (
            lambda: reader.add(documents([9])),
            lambda: reader.upsert(documents([1])),
            lambda: reader.delete(["d1"]),
            reader.compact,
        ):
            with pytest.raises(ReadOnlyStoreError, match="reading only"):
                change()


def test_a_folder_without_a_store_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="holds no store"):
        LocalEmbeddingStore(ENCODER, tmp_path / "nothing", read_only=True)
    assert not (tmp_path / "nothing").exists()


def test_mixing_encoders_is_an_error_that_says_both_names(tmp_path: Path):
    LocalEmbeddingStore(ENCODER, tmp_path).close()
    for read_only in (False, True):
        with pytest.raises(EncoderMismatchError, match=r"'hashing-8' \(8 dimensions\), not 'hashing-9' \(9\)"):
            LocalEmbeddingStore(HashingEncoder(9), tmp_path, read_only=read_only)
    LocalEmbeddingStore(ENCODER, tmp_path).close()


def break_database(folder: Path) -> None:
    (folder / "documents.sqlite").write_bytes(b"not a database" * 100)


def shorten_vectors(folder: Path) -> None:
    os.truncate(folder / "vectors-000000.f32", 95)


def lose_vectors(folder: Path) -> None:
    (folder / "vectors-000000.f32").unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [(break_database, "documents.sqlite"), (shorten_vectors, "vectors-000000"), (lose_vectors, "vectors-000000")],
)
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, damage: Callable[[Path], None], named: str):
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents(range(3)))
    damage(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for read_only in (True, False):
        with pytest.raises(StoreDamagedError, match=named):
            LocalEmbeddingStore(ENCODER, tmp_path, read_only=read_only)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith(("-wal", "-shm"))}
    assert after == {name: before[name] for name in after}


@pytest.mark.parametrize("operation", ["add", "upsert", "compact"])
def test_a_disk_that_refuses_leaves_the_old_state_and_a_store_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
):
    def refuse(descriptor: int) -> None:
        raise OSError("disk full")

    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents(range(9)))
        store.delete(["d2"])
        before = store.search("text", top_k=99)
        write = {
            "add": lambda: store.add(documents([20, 21])),
            "upsert": lambda: store.upsert(documents([1, 21])),
            "compact": store.compact,
        }[operation]
        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", refuse)
            with pytest.raises(OSError, match="disk full"):
                write()
        assert store.search("text", top_k=99) == before
        store.add(documents([30]))
        assert len(store) == 9
    assert sorted(contents(tmp_path)) == sorted(["d0", "d1", "d3", "d4", "d5", "d6", "d7", "d8", "d30"])


def crash_states(folder: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of a running store before and after its last commit."""

    def files() -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if path.suffix in (".sqlite", ".sqlite-wal", ".f32")
        }

    with LocalEmbeddingStore(ENCODER, folder) as store:
        store.add(documents(range(4)))
        store.delete(["d1"])
        before = files()
        store.upsert(documents([2, 4, 5], "later"))
        return before, files()


def check_power_cut(tmp_path: Path, stride: int) -> int:
    """Open the store that each possible cut of the log within the last commit leaves; returns how many there were."""
    before, after = crash_states(tmp_path / "source")
    wal, vectors = "documents.sqlite-wal", "vectors-000000.f32"
    assert after[wal].startswith(before[wal])
    frame_ends = range(32, len(after[wal]) + 1, 24 + 4096)
    cuts = {*range(len(before[wal]), len(after[wal]), stride), len(after[wal])}
    cuts |= {end + offset for end in frame_ends for offset in (-1, 0, 1, 24)}
    cuts = {cut for cut in cuts if len(before[wal]) <= cut <= len(after[wal])}
    old = {"d0": "text 0", "d2": "text 2", "d3": "text 3"}
    new = {"d0": "text 0", "d2": "later 2", "d3": "text 3", "d4": "later 4", "d5": "later 5"}
    target = tmp_path / "target"
    for cut in sorted(cuts):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name, data in after.items():
            (target / name).write_bytes(data[:cut] if name == wal else data)
        assert contents(target) == (new if cut == len(after[wal]) else old), f"log cut after {cut} bytes"
    for length in range(len(before[vectors]), len(after[vectors]) + 1):
        shutil.rmtree(target)
        target.mkdir()
        for name, data in before.items():
            (target / name).write_bytes(after[vectors][:length] if name == vectors else data)
        assert contents(target) == old, f"vectors cut after {length} bytes"
        assert (target / vectors).stat().st_size == len(before[vectors])
    return len(cuts)


def test_a_power_cut_within_a_commit_leaves_the_state_before_it(tmp_path: Path):
    assert check_power_cut(tmp_path, stride=509) > 50


@pytest.mark.slow
def test_a_power_cut_at_any_byte_of_a_commit_leaves_the_state_before_it(tmp_path: Path):
    assert check_power_cut(tmp_path, stride=1) > 10_000


def test_a_rolled_back_write_is_noted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        store.add(documents(range(2)))
    with (tmp_path / "vectors-000000.f32").open("ab") as file:
        file.write(b"torn" * 5)
    (tmp_path / "vectors-000001.f32").write_bytes(b"compaction that was never committed")
    with caplog.at_level(logging.WARNING):
        assert contents(tmp_path) == {"d0": "text 0", "d1": "text 1"}
    (record,) = caplog.records
    assert "rolled back 20 bytes" in record.getMessage()
    assert vars(record)["discarded_bytes"] == 20
    assert {path.name for path in tmp_path.glob("vectors-*")} == {"vectors-000000.f32"}


WRITER = """
import json, random, sys
from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
folder, seed = sys.argv[1], int(sys.argv[2])
rng = random.Random(seed)
print("opening", flush=True)
store = LocalEmbeddingStore(HashingEncoder(8), folder)
known = [document.id for document in store.documents()]
for number in range(10**6):
    kind = rng.choice(["add", "add", "upsert", "replace", "delete", "update", "compact"])
    fresh = [f"{seed}-{number}-{part}" for part in range(rng.randint(1, 12))]
    some = rng.sample(known, min(len(known), rng.randint(1, 8)))
    if len(known) > 300:
        kind, some = "delete", known[:150]
    both = fresh + some
    ids = {"add": fresh, "upsert": both, "replace": both, "delete": some, "update": [], "compact": []}[kind]
    content = {} if kind in ("delete", "update", "compact") else {i: f"{i} written as {seed} {number}" for i in ids}
    print(json.dumps({"kind": kind, "ids": ids, "content": content}), flush=True)
    documents = [Document(id=i, content=c, metadata={"seed": seed, "n": number}) for i, c in content.items()]
    if kind == "delete":
        store.delete(ids)
    elif kind == "compact":
        store.compact()
    elif kind == "update":
        store.update_metadata({i: {"n": number} for i in some})
    elif kind == "replace":
        store.replace({"seed": -1}, documents)
    else:
        getattr(store, kind)(documents)
    print("acknowledged", flush=True)
    known = [i for i in known if i not in ids] + list(content)
"""


def run_kill_trials(tmp_path: Path, trials: int) -> int:
    """Kill a writer at random moments, over and over on the same store; returns how many writes were acknowledged."""
    script, folder, rng = tmp_path / "writer.py", tmp_path / "store", random.Random(0)
    script.write_text(WRITER)
    expected: dict[str, str] = {}
    acknowledged = 0
    for trial in range(trials):
        writer = subprocess.Popen([sys.executable, script, folder, str(trial)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "opening\n"
        time.sleep(rng.choice([rng.uniform(0, 0.02), rng.uniform(0, 0.5)]))
        writer.kill()
        lines = writer.communicate()[0].split("\n")[:-1]  # what follows the last line break was cut off
        states = [expected]
        for line in lines:
            if line == "acknowledged":
                states = [states[-1]]
                acknowledged += 1
            else:
                begun = json.loads(line)
                base = {key: text for key, text in states[-1].items() if key not in begun["ids"]}
                states = [states[-1], base | begun["content"]]
        found = contents(folder)
        assert found in states, f"trial {trial}: not the state of what was acknowledged, nor with the write under way"
        expected = found
    return acknowledged


def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path: Path):
    assert run_kill_trials(tmp_path, trials=3) > 0


@pytest.mark.slow
def test_what_was_acknowledged_survives_two_hundred_kills(tmp_path: Path):
    assert run_kill_trials(tmp_path, trials=200) > 200


def run_full_disks(folder: Path, trials: int) -> int:
    """Write, over and over on the same store, until no file may grow beyond a random length; return the refusals."""
    rng, acknowledged, refused = random.Random(0), {}, 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for trial in range(trials):
        with LocalEmbeddingStore(ENCODER, folder) as store:
            largest = max(path.stat().st_size for path in folder.iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest + rng.randint(0, 60_000), hard))
            try:
                for number in range(400):
                    some = rng.sample(sorted(acknowledged), min(len(acknowledged), rng.randint(0, 3)))
                    fresh = {f"{trial}-{number}-{part}": "x" * rng.randint(1, 900) for part in range(rng.randint(1, 9))}
                    written = fresh | dict.fromkeys(some, f"again {trial} {number}")
                    store.upsert(Document(id=key, content=text) for key, text in written.items())
                    acknowledged |= written
                    if len(acknowledged) > 200:
                        gone = rng.sample(sorted(acknowledged), 150)
                        store.delete(gone)
                        acknowledged = {key: text for key, text in acknowledged.items() if key not in gone}
            except OSError:
                refused += 1
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert contents_of(store) == acknowledged, f"trial {trial}"
            assert store.verify() == []
        assert contents(folder) == acknowledged, f"trial {trial}, after closing"
    return refused


def contents_of(store: LocalEmbeddingStore) -> dict[str, str]:
    return {document.id: document.content for document in store.documents()}


def test_a_disk_that_is_full_loses_nothing_that_was_acknowledged(tmp_path: Path):
    assert run_full_disks(tmp_path, trials=4) > 0


@pytest.mark.slow
def test_fifty_full_disks_lose_nothing_that_was_acknowledged(tmp_path: Path):
    refused = run_full_disks(tmp_path, trials=70)
    print(f"{refused} full disks")
    assert refused >= 50
