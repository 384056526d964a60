from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from sightline.jepa.data import read_dataset, write_dataset
from sightline.jepa.data.building import SteeringTexts
from sightline.jepa.data.dataset import DatasetError, SteeringDataset

MakeDataset = Callable[..., SteeringDataset]


def _equal(first: SteeringDataset, second: SteeringDataset) -> bool:
    return all(np.array_equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(SteeringDataset))


def test_a_data_set_comes_back_from_its_folder(built: SteeringDataset, tmp_path: Path, texts: SteeringTexts) -> None:
    write_dataset(tmp_path / "data", built)
    opened = read_dataset(tmp_path / "data")
    assert _equal(opened, built)
    assert opened.question_texts == texts.questions


def test_an_opened_data_set_is_mapped_and_read_only(built: SteeringDataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", built)
    opened = read_dataset(tmp_path / "data")
    assert isinstance(opened.sources, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        opened.sources[0, 0] = 1.0


def test_a_data_set_without_texts_is_saved_without(toy_dataset: SteeringDataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", toy_dataset)
    assert read_dataset(tmp_path / "data").source_texts == ()


def test_what_exists_is_not_overwritten(built: SteeringDataset, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("kept")
    with pytest.raises(FileExistsError, match="remove it first"):
        write_dataset(tmp_path / "data", built)
    assert (tmp_path / "data" / "precious").read_text() == "kept"


@pytest.mark.parametrize("writes", range(0, 14, 4))
def test_a_full_disk_leaves_nothing_behind(
    built: SteeringDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    done = []

    def full(descriptor: int) -> None:
        done.append(descriptor)
        if len(done) > writes:
            raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_dataset(tmp_path / "data", built)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(built: SteeringDataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", built)
    (tmp_path / "data" / "centroids.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"centroids\.npy"):
        read_dataset(tmp_path / "data")


@pytest.mark.parametrize("keep", [0, 40, 150])
def test_a_cut_file_is_named(built: SteeringDataset, tmp_path: Path, keep: int) -> None:
    write_dataset(tmp_path / "data", built)
    path = tmp_path / "data" / "sources.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=r"sources\.npy"):
        read_dataset(tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dataset.json", '{"format": 2, "encoder": "a", "names": []}', "'format'"),
        ("dataset.json", '{"format": 1, "encoder": "a", "names": [], "more": 1}', "'more'"),
        ("dataset.json", "{", r"dataset\.json"),
        ("dataset.json", '{"format": 1, "encoder": "a", "names": ["only one"]}', "category_vectors must be"),
        ("source_texts.jsonl", '"one"\n', "source_texts has 1 texts for 5 rows"),
        ("source_texts.jsonl", "nonsense\n", r"source_texts\.jsonl, line 1"),
        ("question_texts.jsonl", '"a"\n{"b": 1}\n', r"question_texts\.jsonl, line 2: expected a string"),
    ],
)
def test_a_file_that_holds_something_else_is_named(
    built: SteeringDataset, tmp_path: Path, name: str, content: str, message: str
) -> None:
    write_dataset(tmp_path / "data", built)
    (tmp_path / "data" / name).write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path / "data")


def test_an_array_of_objects_is_not_unpickled(built: SteeringDataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", built)
    np.save(tmp_path / "data" / "pairs.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"pairs\.npy"):
        read_dataset(tmp_path / "data")
