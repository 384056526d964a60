from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sightline.agents.reasoning import (
    HRM,
    TRM,
    Addition,
    HRMConfig,
    PlainConfig,
    TRMConfig,
    load_reasoner,
    make_reasoner,
)
from sightline.retrieval.jsonl import RecordError

TASK = Addition(1)


@pytest.mark.parametrize("kind", [TRMConfig, HRMConfig, PlainConfig])
def test_a_saved_model_answers_as_before(kind: type[TRMConfig | HRMConfig | PlainConfig], tmp_path: Path) -> None:
    model = make_reasoner(kind.for_task(TASK, width=16, seed=3, halt_threshold=0.7))
    model.save_pretrained(tmp_path / "model", training="Not trained.")
    loaded = load_reasoner(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    puzzles = TASK.sample(np.random.default_rng(0), 5).inputs
    assert (model.eval().solve(puzzles).cells == loaded.solve(puzzles).cells).all()
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sightline-agents\n")
    assert "Not trained." in card


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    TRM(TRMConfig.for_task(TASK, width=16)).save_pretrained(tmp_path)
    with pytest.raises(RecordError, match="holds a model of kind 'trm', which HRM cannot be"):
        HRM.from_pretrained(tmp_path)


def test_weights_of_another_architecture_are_refused_by_the_first_that_differs(tmp_path: Path) -> None:
    TRM(TRMConfig.for_task(TASK, width=16)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"layers": 1}))
    with pytest.raises(RecordError, match=r"networks\.0\.blocks\.1\.0\.down is of shape \[4, 8\] there, but .* absent"):
        load_reasoner(tmp_path)


def test_a_missing_weight_is_refused(tmp_path: Path) -> None:
    TRM(TRMConfig.for_task(TASK, width=16)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["embedding"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(RecordError, match="embedding is absent there"):
        load_reasoner(tmp_path)


def test_a_damaged_folder_is_refused_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no reasoner"):
        load_reasoner(tmp_path)
    TRM(TRMConfig.for_task(TASK, width=16)).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RecordError, match="cannot be read"):
        load_reasoner(tmp_path)
    (tmp_path / "config.json").write_text(
        '{"kind": "trm", "task": "addition-1", "length": 4, "vocabulary": 11, "x": 1}'
    )
    with pytest.raises(RecordError, match=r"config\.json, trm\.x: Extra inputs"):
        load_reasoner(tmp_path)
