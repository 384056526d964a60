from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore

SLOTS = 20
ENCODER = HashingEncoder(8)


def write_generation(store: LocalEmbeddingStore, generation: int) -> None:
    """Replace every document by one of this generation, in one write."""
    store.upsert(
        Document(id=f"slot {slot}", content=f"slot {slot}", metadata={"generation": generation})
        for slot in range(SLOTS)
    )


def read_generation(store: LocalEmbeddingStore, where: dict | None) -> int:
    """The generation of all documents; fails unless they are complete and of one generation."""
    hits = store.search("slot 3", top_k=10 * SLOTS, where=where)
    assert {hit.document.id for hit in hits} == {f"slot {slot}" for slot in range(SLOTS)}
    assert len(hits) == SLOTS
    (generation,) = {hit.document.metadata["generation"] for hit in hits}
    assert isinstance(generation, int)
    return generation


def run_readers_and_writer(store: LocalEmbeddingStore, seconds: float, folder: Path | None) -> tuple[int, int]:
    """Eight readers beside one writer; returns how many generations were written and how many reads were checked."""
    write_generation(store, 0)
    deadline, failures, reads = time.monotonic() + seconds, [], [0] * 8

    def read(number: int) -> None:
        own = folder is not None and number >= 6  # two of them as another process would read
        reader = LocalEmbeddingStore(ENCODER, folder, read_only=True) if own else store
        latest = 0
        try:
            while time.monotonic() < deadline:
                generation = read_generation(reader, {"generation": {">=": 0}} if number % 2 else None)
                assert generation >= latest, "a reader went back in time"
                assert len(reader) == SLOTS
                latest, reads[number] = generation, reads[number] + 1
                reader.refresh()
        except BaseException as error:  # told to the main thread, which raises it
            failures.append(error)
        finally:
            if own:
                reader.close()

    readers = [threading.Thread(target=read, args=(number,), daemon=True) for number in range(8)]
    for thread in readers:
        thread.start()
    written = 0
    while time.monotonic() < deadline and not failures:
        written += 1
        write_generation(store, written)
        if written % 40 == 0:
            store.compact()
    for thread in readers:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in readers), "a reader is stuck"
    if failures:
        raise failures[0]
    assert min(reads) > 0
    assert read_generation(store, None) == written
    return written, sum(reads)


@pytest.mark.parametrize("on_disk", [False, True])
def test_readers_beside_a_writer_see_committed_states_only(tmp_path: Path, on_disk: bool):
    folder = tmp_path if on_disk else None
    with LocalEmbeddingStore(ENCODER, folder) as store:
        written, _ = run_readers_and_writer(store, 2.0, folder)
        assert written > 1


@pytest.mark.slow
def test_readers_beside_a_writer_see_committed_states_only_for_a_minute(tmp_path: Path):
    with LocalEmbeddingStore(ENCODER, tmp_path) as store:
        written, reads = run_readers_and_writer(store, 60.0, tmp_path)
        assert written > 100
        assert reads > 1000


class SlowEncoder(HashingEncoder):
    """Waits for permission before it encodes a text that says so."""

    def __init__(self) -> None:
        super().__init__(8)
        self.begun, self.permission = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if "slow" in texts:
            self.begun.set()
            assert self.permission.wait(60)
        return super().encode(texts)


@pytest.mark.parametrize("on_disk", [False, True])
def test_nobody_waits_while_texts_are_encoded(tmp_path: Path, on_disk: bool):
    encoder = SlowEncoder()
    with LocalEmbeddingStore(encoder, tmp_path if on_disk else None) as store:
        store.add([Document(id="a", content="quick")])
        tasks: list[Callable[[], object]] = [
            lambda: store.add([Document(id="b", content="slow")]),
            lambda: store.search("slow"),
        ]
        threads = [threading.Thread(target=task) for task in tasks]
        for thread in threads:
            thread.start()
        assert encoder.begun.wait(60)
        assert [hit.document.id for hit in store.search("quick")] == ["a"]
        store.upsert([Document(id="c", content="quick")])
        store.delete(["a"])
        assert list(store.documents()) == [Document(id="c", content="quick")]
        encoder.permission.set()
        for thread in threads:
            thread.join(timeout=60)
        assert {document.id for document in store.documents()} == {"b", "c"}
