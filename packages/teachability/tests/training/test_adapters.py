from __future__ import annotations

import json
import os

import numpy as np
import peft
import pytest
import torch

from sightline.teachability.jsonl import RecordError
from sightline.teachability.training.adapters import AdapterSlot, adapter_digest, linear_layers
from sightline.teachability.training_records import LearnerConfig


def logits(slot):
    with torch.no_grad():
        return slot.model(torch.tensor([[1, 2, 3, 4]])).logits


def test_an_adapter_follows_from_its_seed_whatever_was_drawn_before(models):
    first = AdapterSlot(models.tiny_model(), LearnerConfig()).draw(7)
    torch.manual_seed(99)
    torch.rand(17)
    np.random.default_rng(1).random(5)
    slot = AdapterSlot(models.tiny_model(), LearnerConfig())
    torch.rand(3)
    assert adapter_digest(slot.draw(7)) == adapter_digest(first)
    assert adapter_digest(slot.draw(8)) != adapter_digest(first)


def test_a_new_adapter_changes_no_answer(models):
    plain = models.tiny_model()
    with torch.no_grad():
        before = plain(torch.tensor([[1, 2, 3, 4]])).logits
    slot = AdapterSlot(models.tiny_model(), LearnerConfig())
    slot.put(slot.draw(0), "0")
    assert torch.equal(logits(slot), before)


def test_making_a_slot_leaves_the_global_generator_alone(models):
    model = models.tiny_model()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    AdapterSlot(model, LearnerConfig())
    assert torch.equal(torch.rand(3), expected)


def test_adapters_are_on_all_linear_layers_but_embedding_and_head(models):
    for tied in (True, False):
        names = linear_layers(models.tiny_model(tied=tied))
        assert len(names) == 2 * 7
        assert not any("lm_head" in name or "embed" in name for name in names)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_embedding_and_head_are_refused(models, target):
    with pytest.raises(ValueError, match="other than embeddings and head"):
        AdapterSlot(models.tiny_model(), LearnerConfig(), targets=["q_proj", target])


def test_swapping_leaks_nothing_and_a_changed_base_is_noticed(models):
    slot = AdapterSlot(models.tiny_model(), LearnerConfig())
    base = logits(slot)
    noisy = {name: tensor + 0.1 for name, tensor in slot.draw(1).items()}
    slot.put(noisy, "noisy")
    changed = logits(slot)
    assert not torch.equal(changed, base)
    slot.put(slot.empty(), "empty")
    assert torch.equal(logits(slot), base)
    slot.put(noisy, "noisy")
    assert torch.equal(logits(slot), changed)
    slot.check_base()
    with torch.no_grad():
        next(p for n, p in slot.model.named_parameters() if "lora_" not in n).add_(1e-6)
    with pytest.raises(RuntimeError, match="base model has changed"):
        slot.check_base()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_reads_back_here_and_through_peft(models, tmp_path):
    slot = AdapterSlot(models.tiny_model(), LearnerConfig())
    adapter = {name: tensor + 0.05 for name, tensor in slot.draw(1).items()}
    slot.put(adapter, "a")
    expected = logits(slot)
    slot.write(adapter, tmp_path / "a")
    assert adapter_digest(slot.read(tmp_path / "a")) == adapter_digest(adapter)
    layers = json.loads((tmp_path / "a" / "adapter_config.json").read_text())["target_modules"]
    assert layers == sorted(layers)
    assert len(layers) > 3
    other = peft.PeftModel.from_pretrained(models.tiny_model(), str(tmp_path / "a"))
    with torch.no_grad():
        assert torch.allclose(other(torch.tensor([[1, 2, 3, 4]])).logits, expected, atol=1e-5)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_an_adapter_is_decided_by_the_umask(models, tmp_path, umask, mode):
    slot = AdapterSlot(models.tiny_model(), LearnerConfig())
    before = os.umask(umask)
    try:
        slot.write(slot.draw(1), tmp_path / "a")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "a").iterdir()}
    assert "adapter_model.safetensors" in modes
    assert set(modes.values()) == {mode}


def test_a_truncated_adapter_a_missing_one_and_another_models_are_refused(models, tmp_path):
    slot = AdapterSlot(models.tiny_model(), LearnerConfig())
    slot.write(slot.draw(1), tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    whole = file.read_bytes()
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(RecordError, match="damaged"):
            slot.read(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="holds no adapter"):
        slot.read(tmp_path / "b")
    other = AdapterSlot(models.tiny_model(), LearnerConfig(rank=4))
    with pytest.raises(ValueError, match="does not fit this model"):
        other.put(slot.draw(1), "x")


def test_a_full_disk_leaves_the_old_adapter_and_no_rubbish(models, tmp_path, monkeypatch):
    slot = AdapterSlot(models.tiny_model(), LearnerConfig())
    slot.write(slot.draw(1), tmp_path / "a")
    before = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()}

    def full(folder, **_):
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(slot.model, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        slot.write(slot.draw(2), tmp_path / "a")
    assert {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
