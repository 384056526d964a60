from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from sightline.jepa.asking.encoders import open_sentence_model
from sightline.jepa.training import CheckpointError
from sightline.jepa.tuning import LowRankTuning, add_adapters, learned_weights, tune
from sightline.jepa.tuning.low_rank import _share_of_rate

TUNING = LowRankTuning(learning_rate=0.1, checkpoint_steps=2)


def test_the_rate_rises_in_a_tenth_of_the_steps_and_then_falls_to_nothing():
    shares = [_share_of_rate(step, 20) for step in range(20)]
    assert shares[:2] == [0.5, 1.0]
    assert shares[2:] == sorted(shares[2:], reverse=True)
    assert 0 < shares[-1] < 0.1


def test_only_adapters_are_learnt_and_untrained_ones_change_nothing(coded_model: Path):
    model = open_sentence_model(str(coded_model), "cpu")
    before = model.encode(["ask1 about5"])
    adapted = add_adapters(model.transformers_model, 4, seed=0)
    assert all("lora" in name for name in learned_weights(adapted))
    assert (model.encode(["ask1 about5"]) == before).all()


@pytest.mark.parametrize("damage", [b"no tensors", None])
def test_a_checkpoint_that_does_not_fit_is_refused_in_words(tmp_path: Path, damage: bytes | None):
    path = tmp_path / "checkpoint"
    weight = torch.zeros(3, requires_grad=True)
    tune({"w": weight}, 2, lambda step: (weight - 1).square().sum(), TUNING, seed=0, checkpoint=path)
    if damage is not None:
        path.write_bytes(damage)
    other = torch.zeros(3 if damage else 5, requires_grad=True)
    with pytest.raises(CheckpointError, match=f"{path} is damaged or of another tuning .*; delete it"):
        tune({"w": other}, 2, lambda step: other.sum(), TUNING, seed=0, checkpoint=path)


def test_a_loss_that_is_not_finite_stops_with_the_step(tmp_path: Path):
    weight = torch.zeros(1, requires_grad=True)
    with pytest.raises(FloatingPointError, match=r"became nan at step 0; lower the learning_rate \(0\.1\)"):
        tune({"w": weight}, 1, lambda step: weight.sum() * float("nan"), TUNING, seed=0, checkpoint=tmp_path / "c")


def test_every_step_draws_numbers_of_its_own_and_the_same_ones_in_every_tuning(tmp_path: Path):
    def drawn(name: str, seed: int) -> list[float]:
        weight, numbers = torch.zeros(1, requires_grad=True), []

        def loss_of(step: int) -> torch.Tensor:
            numbers.append(torch.rand(()).item())
            return weight.sum()

        tune({"w": weight}, 4, loss_of, TUNING, seed=seed, checkpoint=tmp_path / name)
        return numbers

    first = drawn("first", 0)
    assert len(set(first)) == 4
    assert drawn("again", 0) == first
    assert not set(drawn("other", 1)) & set(first)


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install 'sightline-jepa\[tuning\]'"):
        add_adapters(torch.nn.Linear(2, 2), 4, seed=0)
