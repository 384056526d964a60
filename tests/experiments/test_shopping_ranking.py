"""Recall by what the expert clicks, on hand-made pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.shopping.ranking import recall_by_target_stage
from lab.run import RunDirectory
from sightline.agents.records import Situation
from sightline.retrieval import CachedEncoder, HashingEncoder
from sightline.retrieval.conditioned import RetrievalExample

CHUNKS = tuple(f"chunk {number}" for number in range(8))


def page(number: int, action: str, needed: int) -> RetrievalExample:
    return RetrievalExample(
        episode_id=str(number),
        t=0,
        instruction="a lamp",
        events=(("OBS", "page"),),
        obs_text="page",
        chunks=CHUNKS,
        pos_idx=(needed,),
        neg_idx=tuple(index for index in range(8) if index != needed),
        action=action,
    )


def first_chunks_first(_: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[np.ndarray]:
    return [-np.arange(len(each), dtype=np.float64) for each in chunks]


def test_recall_is_told_apart_by_what_is_clicked_and_with_and_without_buttons(tmp_path: Path) -> None:
    products = [page(number, "click[b0aaaaaaaa]", 0) for number in range(4)]
    options = [page(number, "click[red]", 7) for number in range(4)]
    buttons = [page(number, "click[buy now]", 1) for number in range(4)]
    encoder = CachedEncoder(HashingEncoder(8), tmp_path / "embeddings.sqlite")
    table = recall_by_target_stage(
        RunDirectory(tmp_path / "run", {}), {"first": [first_chunks_first]}, [*products, *options, *buttons], encoder, 0
    )
    assert [column.partition(":")[0] for column in table.columns[1:]] == [
        "a product (4)",
        "an option (4)",
        "a button (4)",
        "all but buttons",
        "all",
    ]
    ((name, *cells),) = table.rows
    assert name == "first"
    assert [cell.split(" ")[0] for cell in cells] == ["100.0", "0.0", "100.0", "50.0", "66.7"]
