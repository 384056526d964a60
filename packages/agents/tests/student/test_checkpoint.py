from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from sightline.agents.student.checkpoint import TrainingState, load_checkpoint, restore, save_checkpoint


def trained(steps: int) -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    continue_for(model, optimizer, steps)
    return model, optimizer


def continue_for(model: torch.nn.Linear, optimizer: torch.optim.AdamW, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(3)).square().sum().backward()
        optimizer.step()


def state() -> TrainingState:
    return TrainingState("a fingerprint", '{"tokens": ["é"]}', losses=[2.5, 1.25], tokens=70)


def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, _ = trained(5)
    stopped, optimizer = trained(2)
    save_checkpoint(tmp_path / "work.safetensors", state(), dict(stopped.named_parameters()), optimizer)
    found = load_checkpoint(tmp_path / "work.safetensors", "a fingerprint")
    assert found is not None
    assert (found.tokenizer, found.losses, found.tokens) == ('{"tokens": ["é"]}', [2.5, 1.25], 70)
    fresh, optimizer = trained(0)
    restore(found.tensors, dict(fresh.named_parameters()), optimizer, 2)
    continue_for(fresh, optimizer, 3)
    for one, other in zip(fresh.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_holds_weights_and_both_moments_under_their_names(tmp_path: Path) -> None:
    model, optimizer = trained(1)
    save_checkpoint(tmp_path / "work.safetensors", state(), dict(model.named_parameters()), optimizer)
    with safe_open(tmp_path / "work.safetensors", "pt") as file:
        names = {f"{kind}.{name}" for kind in ("weight", "exp_avg", "exp_avg_sq") for name in ("weight", "bias")}
        assert set(file.keys()) == names
        assert file.metadata().keys() == {"fingerprint", "tokenizer", "losses", "tokens"}


def test_work_that_is_not_there_or_is_anothers_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "work.safetensors"
    assert load_checkpoint(path, "a fingerprint") is None
    model, optimizer = trained(1)
    save_checkpoint(path, state(), dict(model.named_parameters()), optimizer)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(path, "another fingerprint") is None
    assert "belongs to other examples or another config" in caplog.text


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_checkpoint_cut_short_is_none_and_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int) -> None:
    path = tmp_path / "work.safetensors"
    model, optimizer = trained(1)
    save_checkpoint(path, state(), dict(model.named_parameters()), optimizer)
    path.write_bytes(path.read_bytes()[:size])
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(path, "a fingerprint") is None
    assert "cannot be read" in caplog.text
    assert path.read_bytes() == content
