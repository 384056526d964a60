"""One of everything that the package keeps on disk, and how it is made.

`python packages/retrieval/tests/retrieval_golden.py` writes it.

Files in `data/golden` are as an earlier version left them. They are written anew only together with a new version of
the format: what this version cannot read, users of the last one have lost.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from sightline.retrieval import CachedEncoder, Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.conditioned import RetrievalExample, write_examples

GOLDEN = Path(__file__).parent / "data" / "golden"
DOCUMENTS = [
    Document(id="lamp", content="Desk lamp, grey", metadata={"price": 12, "colour": "grey", "sizes": [5, 7.5, None]}),
    Document(id="é ★", content="nul \x00", metadata={"new": True, "": {"deep": [1]}, "\ud800": "\ud800"}),
    Document(id="mug", content="Coffee mug", metadata={}),
]
REPLACED = Document(id="mug", content="Tea mug", metadata={"price": 7.5})
VECTORS = np.array([[3, 4, 0, 0], [0, 0, 0, -2], [1, 1, 1, 1], [0.5, 0, 0.25, 0]], dtype=np.float32)
TEXTS = ["Desk lamp, grey", "lone surrogate \ud800", ""]
EXAMPLE = RetrievalExample(
    episode_id="episode 7",
    t=2,
    instruction="find a grey lamp",
    events=(("OBS", "page\n★"), ("ACT", "click[B07]")),
    obs_text="page\n★",
    chunks=("[button] B07 [button_]", "Desk lamp", "$12"),
    pos_idx=(0,),
    neg_idx=(1, 2),
    action="click[B07]",
)


def write_store(folder: Path) -> None:
    """A store with a document replaced before a compaction, one after, and one deleted."""
    with LocalEmbeddingStore(HashingEncoder(4), folder) as store:
        store.add([*DOCUMENTS, Document(id="gone", content="gone")], VECTORS)
        store.delete(["gone"])
        store.compact()
        store.upsert([REPLACED], VECTORS[3:])


def write_cache(path: Path) -> None:
    cached = CachedEncoder(HashingEncoder(8), path)
    cached.encode(TEXTS)
    cached.save()


def write_retriever(folder: Path) -> None:
    import torch

    from sightline.retrieval import StateConditionedRetriever

    retriever = StateConditionedRetriever(2, 3, hidden_dim=2, text_encoder="hashing-3")
    start = 0
    with torch.no_grad():
        for parameter in retriever.parameters():
            parameter.copy_(torch.arange(start, start + parameter.numel()).reshape(parameter.shape) / 8)
            start += parameter.numel()
    retriever.save_pretrained(folder)


def dump(path: Path) -> str:
    """What a database holds, as SQL literals: its bytes differ from one SQLite to the next."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as connection:
        lines = []
        for name, statement in connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall():
            lines.append(f"{name}: {' '.join((statement or '').split())}")
            if (statement or "").startswith("CREATE TABLE"):
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
                literals = ", ".join(f"quote({column})" for column in columns)
                lines += sorted(f"  {', '.join(row)}" for row in connection.execute(f"SELECT {literals} FROM {name}"))
        for pragma in ("user_version", "application_id"):
            lines.append(f"{pragma}: {connection.execute(f'PRAGMA {pragma}').fetchone()[0]}")
    return "\n".join(lines) + "\n"


def main() -> None:
    if GOLDEN.exists():
        sys.exit(f"{GOLDEN} is there already; move it away first")
    write_store(GOLDEN / "store")
    (GOLDEN / "store" / "writer.lock").unlink(missing_ok=True)
    write_cache(GOLDEN / "cache")
    write_examples(GOLDEN / "examples.jsonl", [EXAMPLE])
    write_retriever(GOLDEN / "retriever")
    for name in ("store/documents.sqlite", "cache"):
        (GOLDEN / f"{Path(name).name}.txt").write_text(dump(GOLDEN / name), encoding="utf-8")


if __name__ == "__main__":
    main()
