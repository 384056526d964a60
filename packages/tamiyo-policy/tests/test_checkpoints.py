from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sightline.tamiyo_policy.checkpoints import CheckpointError, read_checkpoint, write_checkpoint


def test_a_state_comes_back_with_its_types_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "state"
    shared = torch.arange(6.0).reshape(2, 3)
    state: dict[str, Any] = {
        "weights": {"a": shared, "b": shared[:, 1], "flag": torch.tensor([True, False])},
        "moments": {0: {"step": torch.tensor(3.0)}, 1: {"step": torch.tensor(4.0)}},
        "counts": np.array([1, 2], np.int64),
        "text": "ä",
        "large": 2**100,
        "nothing": None,
        "list": [1, 2.5, True],
    }
    write_checkpoint(path, state)
    found = read_checkpoint(path)
    assert torch.equal(found["weights"]["a"], shared)
    assert torch.equal(found["weights"]["b"], shared[:, 1])
    assert found["weights"]["flag"].tolist() == [True, False]
    assert list(found["moments"]) == [0, 1]
    assert float(found["moments"][1]["step"]) == 4.0
    assert isinstance(found["counts"], np.ndarray)
    assert found["counts"].tolist() == [1, 2]
    assert [found[name] for name in ("text", "large", "nothing", "list")] == ["ä", 2**100, None, [1, 2.5, True]]


GOLDEN = Path(__file__).parent / "golden" / "state.safetensors"
"""`GOLDEN_STATE` as version 1 of the format wrote it. Another layout needs another number, and this one a reader."""

GOLDEN_STATE: dict[str, Any] = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "half": torch.tensor([0.5, -2.0], dtype=torch.bfloat16)},
    "moments": {0: {"step": torch.tensor(3.0)}},
    "counts": np.array([[1, 2], [3, 2**40]], np.int64),
    "flags": np.array([True, False]),
    "generator": torch.tensor([7, 255], dtype=torch.uint8),
    "text": "ä",
    "list": [1, 2.5, None, {"x": True}],
}


def test_the_format_on_disk_is_the_same_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_checkpoint(path, GOLDEN_STATE)
    assert path.read_bytes() == GOLDEN.read_bytes()
    found = read_checkpoint(GOLDEN)
    assert found["weights"]["half"].dtype == torch.bfloat16
    assert found["counts"].tolist() == [[1, 2], [3, 2**40]]
    assert found["moments"] == {0: {"step": torch.tensor(3.0)}}
    assert found["list"] == [1, 2.5, None, {"x": True}]


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_a_checkpoint_is_decided_by_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_checkpoint(tmp_path / "state", {"a": 1})
    finally:
        os.umask(before)
    assert (tmp_path / "state").stat().st_mode & 0o777 == mode


def test_what_is_not_data_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_checkpoint(path, {"a": 1})
    with pytest.raises(TypeError, match="cannot hold 'object'"):
        write_checkpoint(path, {"a": object()})
    with pytest.raises(TypeError, match="keys are text or whole numbers"):
        write_checkpoint(path, {(1, 2): 1})  # ty: ignore[invalid-argument-type]  # the fault under test
    assert read_checkpoint(path) == {"a": 1}


@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_state_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "state"
    write_checkpoint(path, {"a": 1})

    def fail(*_: object) -> None:
        raise OSError(28, "no space left on device")

    if fault == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_checkpoint(path, {"a": 2})
    monkeypatch.undo()
    assert read_checkpoint(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_file_cut_short_is_said_to_be_damaged(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "state"
    write_checkpoint(path, {"a": torch.arange(8.0)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        read_checkpoint(path)


def test_weights_of_something_else_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    save_file({"a": torch.zeros(1)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="not a checkpoint of format"):
        read_checkpoint(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none")
