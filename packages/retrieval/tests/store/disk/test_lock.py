from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import StoreLockedError

ENCODER = HashingEncoder(8)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

FORKING = """
import os, sys
from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import StoreLockedError

store = LocalEmbeddingStore(HashingEncoder(8), sys.argv[1])
store.add([Document(id="a", content="text of a")])

def child(act):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0

def refuse_second_writer():
    try:
        LocalEmbeddingStore(HashingEncoder(8), sys.argv[1])
    except StoreLockedError:
        return
    raise SystemExit("a second writer got in")

def read():
    assert store.get("a").content == "text of a"
    assert [hit.document.id for hit in store.search("text of a", top_k=1)] == ["a"]
    refuse_second_writer()

def read_and_close():
    read()
    store.close()
    store.close()

def forget():
    global store
    del store
    refuse_second_writer()

def write():
    for change in (lambda: store.delete(["a"]), lambda: store.add([Document(id="b", content="b")]), store.compact):
        try:
            change()
        except StoreLockedError as error:
            assert "forked" in str(error)
        else:
            raise SystemExit("a child wrote")

for act in (read, read_and_close, forget, write):
    child(act)
    refuse_second_writer()
    store.add([Document(id=act.__name__, content="written after the child")])
assert len(store) == 5 and store.verify() == []
store.close()
assert sorted(os.listdir(sys.argv[1])) in (
    ["documents.sqlite", "vectors-000000.f32"], ["documents.sqlite", "vectors-000000.f32", "writer.lock"]
)
with LocalEmbeddingStore(HashingEncoder(8), sys.argv[1]) as again:
    assert len(again) == 5
"""


@needs_fork
def test_a_forked_child_reads_and_takes_neither_the_lock_nor_the_files_of_its_parent(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, tmp_path / "store"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_without_a_timeout_a_second_writer_is_told_at_once_and_how_to_wait(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path), pytest.raises(StoreLockedError, match="give lock_timeout"):
        LocalEmbeddingStore(ENCODER, tmp_path)


def test_a_second_writer_waits_for_the_first_to_close(tmp_path: Path):
    first = LocalEmbeddingStore(ENCODER, tmp_path)
    first.add([Document(id="a", content="a")])
    threading.Timer(0.3, first.close).start()
    with LocalEmbeddingStore(ENCODER, tmp_path, lock_timeout=60) as second:
        assert "a" in second


def test_a_writer_that_waits_in_vain_says_how_long_it_did(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path), pytest.raises(StoreLockedError, match=r"was for 0\.05 s"):
        LocalEmbeddingStore(ENCODER, tmp_path, lock_timeout=0.05)


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused(tmp_path: Path, wrong: float):
    with pytest.raises(ValueError, match="lock_timeout"):
        LocalEmbeddingStore(ENCODER, tmp_path / "store", lock_timeout=wrong)
    assert not (tmp_path / "store").exists()


TAKING_TURNS = """
import sys
from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
for number in range(10):
    with LocalEmbeddingStore(HashingEncoder(8), sys.argv[1], lock_timeout=120) as store:
        store.add([Document(id=f"{sys.argv[2]}-{number}", content="x")])
"""


def test_three_processes_that_take_turns_get_all_their_writes_through(tmp_path: Path):
    running = [subprocess.Popen([sys.executable, "-c", TAKING_TURNS, tmp_path, str(number)]) for number in range(3)]
    assert [process.wait(timeout=300) for process in running] == [0, 0, 0]
    with LocalEmbeddingStore(ENCODER, tmp_path, read_only=True) as store:
        assert len(store) == 30
        assert store.verify() == []
