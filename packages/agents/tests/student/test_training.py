from __future__ import annotations

import json
import logging
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sightline.agents.actors.candidate_scoring import candidate_and_prompt_log_probabilities
from sightline.agents.actors.language_model import LanguageModelActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.student import training
from sightline.agents.student.config import StudentTrainingConfig
from sightline.agents.student.records import StudentExample, StudentReport
from sightline.agents.student.tokenizer import train_tokenizer
from sightline.agents.student.training import encode_examples, make_student, student_loss, train_student

GRAMMAR = webshop_grammar
SMALL = StudentTrainingConfig(
    vocabulary_size=300, layers=2, width=32, heads=2, feed_forward=64, context=128, steps=12, batch_size=4,
    warmup=3, checkpoint_every=5, precision="float32",
)  # fmt: skip
COLOURS = ["red", "blue", "green", "black", "white", "gold"]


def make_examples(count: int, seed: int = 0) -> list[StudentExample]:
    """Buttons in random order; the one named by the task is right."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        shown = rng.choice(COLOURS, size=3, replace=False).tolist()
        right = shown[int(rng.integers(3))]
        page = "\n".join(f"[button] {colour} [button_]" for colour in shown)
        actions = tuple(f"click[{colour}]" for colour in shown)
        prompt = f"task: a {right} chair\npage:\n{page}\naction:"
        examples.append(StudentExample(prompt, actions, shown.index(right)))
    return examples


class KilledError(Exception):
    """Stands for the death of the process."""


def kill_after(step: int):
    def progress(done: int, loss: float) -> None:
        if done == step:
            raise KilledError

    return progress


def test_a_student_learns_to_take_the_action_that_the_task_names(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"steps": 150, "batch_size": 16, "learning_rate": 5e-3, "warmup": 20})
    report = train_student(make_examples(400), GRAMMAR, config, tmp_path / "student")
    assert report.losses[-1] < 0.2 * report.losses[0]
    held_out = make_examples(60, seed=1)
    actor = LanguageModelActor(tmp_path / "student", device="cpu")
    found = actor.score([example.prompt for example in held_out], [example.actions for example in held_out])
    right = [
        int(np.argmax(distribution.probabilities)) == example.chosen
        for example, distribution in zip(held_out, found, strict=True)
    ]
    assert np.mean(right) > 0.9  # chance is 1/3


def test_a_killed_run_continues_to_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    examples = make_examples(30)
    whole = train_student(examples, GRAMMAR, SMALL, tmp_path / "whole")
    for step in (3, 5, 8, 12):
        with pytest.raises(KilledError):
            train_student(examples, GRAMMAR, SMALL, tmp_path / "killed", progress=kill_after(step))
        assert not (tmp_path / "killed").exists()
    steps: list[int] = []
    resumed = train_student(examples, GRAMMAR, SMALL, tmp_path / "killed", progress=lambda done, _: steps.append(done))
    assert steps == []  # the last checkpoint was taken after the last step
    assert resumed == whole
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert (tmp_path / "whole" / "tokenizer.json").read_bytes() == (tmp_path / "killed" / "tokenizer.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def test_a_resumed_run_takes_up_after_its_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train_student(make_examples(30), GRAMMAR, SMALL, tmp_path / "student", progress=kill_after(8))
    steps: list[int] = []
    train_student(make_examples(30), GRAMMAR, SMALL, tmp_path / "student", progress=lambda done, _: steps.append(done))
    assert steps == [6, 7, 8, 9, 10, 11, 12]


def test_a_checkpoint_of_other_examples_or_a_broken_one_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = tmp_path / "work.safetensors"
    with pytest.raises(KilledError):
        train_student(make_examples(30), GRAMMAR, SMALL, tmp_path / "a", checkpoint=checkpoint, progress=kill_after(8))
    steps: list[int] = []
    other = make_examples(30, seed=9)
    with caplog.at_level(logging.WARNING), pytest.raises(KilledError):
        train_student(other, GRAMMAR, SMALL, tmp_path / "a", checkpoint=checkpoint, progress=kill_after(1))
    assert "other examples" in caplog.text
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with caplog.at_level(logging.WARNING):
        train_student(
            make_examples(30),
            webshop_grammar,
            SMALL,
            tmp_path / "a",
            checkpoint=checkpoint,
            progress=lambda done, _: steps.append(done),
        )
    assert "cannot be read" in caplog.text
    assert steps[0] == 1
    assert not checkpoint.exists()


def test_training_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train_student(make_examples(10), GRAMMAR, SMALL, tmp_path / "student")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_folder_is_a_small_hugging_face_model_with_a_card(tmp_path: Path) -> None:
    config = StudentTrainingConfig(steps=1, batch_size=2)
    report = train_student(make_examples(10), GRAMMAR, config, tmp_path / "student", command="train --seed 0")
    folder = tmp_path / "student"
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "report.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert (folder / "model.safetensors").stat().st_size < 5_000_000
    assert json.loads((folder / "report.json").read_text())["steps"] == report.steps == 1
    card = (folder / "README.md").read_text()
    assert "train --seed 0" in card
    assert f"{report.parameters:,}" in card
    loaded = AutoTokenizer.from_pretrained(folder)
    assert loaded is not None
    assert loaded("click[red]")["input_ids"] == train_tokens(folder, "click[red]")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_a_student_is_decided_by_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        train_student(make_examples(10), GRAMMAR, StudentTrainingConfig(steps=1, batch_size=2), tmp_path / "student")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "student").iterdir()}
    assert "model.safetensors" in modes
    assert set(modes.values()) == {mode}


def test_a_student_that_cannot_be_written_leaves_only_the_work_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PreTrainedTokenizerFast, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{")
        raise OSError("no space left")

    config = StudentTrainingConfig(steps=1, batch_size=2)
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerFast, "save_pretrained", full)
        with pytest.raises(OSError, match="no space left"):
            train_student(make_examples(10), GRAMMAR, config, tmp_path / "student")
    assert [file.name for file in tmp_path.iterdir()] == [".student.checkpoint.safetensors"]
    train_student(make_examples(10), GRAMMAR, config, tmp_path / "student")
    assert [file.name for file in tmp_path.iterdir()] == ["student"]


def train_tokens(folder: Path, text: str) -> list[int]:
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))(text)["input_ids"]


def test_prompts_beyond_the_context_are_cut_to_it(tmp_path: Path) -> None:
    prompt = "task: a red chair\npage:\n" + "blue sofa\n" * 200 + "action:"
    long = StudentExample(prompt, ("click[red]", "click[blue]"), 0)
    report = train_student([long, *make_examples(5)], GRAMMAR, SMALL, tmp_path / "student")
    candidates = sum(len(train_tokens(tmp_path / "student", action)) for action in long.actions)
    longest = max(len(train_tokens(tmp_path / "student", f"{action}\n")) for action in long.actions)
    assert report.longest == SMALL.context - longest + candidates


def test_bfloat16_trains_too(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"precision": "bfloat16"})
    report = train_student(make_examples(20), GRAMMAR, config, tmp_path / "student")
    assert report.losses[-1] < report.losses[0]
    assert {tensor.dtype for tensor in load_file(tmp_path / "student" / "model.safetensors").values()} == {
        torch.float32
    }


def test_no_examples_a_full_folder_and_an_endless_action_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        train_student([], GRAMMAR, SMALL, tmp_path / "student")
    with pytest.raises(ValueError, match=r"of at most 64: 'search\[a a"):
        train_student([StudentExample("x", ("search[" + "a " * 99 + "]",), 0)], GRAMMAR, SMALL, tmp_path / "student")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        train_student(make_examples(1), GRAMMAR, SMALL, tmp_path)


def test_a_student_can_go_on_from_another_with_its_words_and_weights(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"steps": 60, "batch_size": 16, "learning_rate": 5e-3, "warmup": 20})
    first = train_student(make_examples(400), GRAMMAR, config, tmp_path / "first")
    further = SMALL.model_copy(update={"steps": 8, "learning_rate": 1e-3, "warmup": 2})
    second = train_student(
        make_examples(100, seed=3), GRAMMAR, further, tmp_path / "second", start_from=tmp_path / "first"
    )
    assert second.losses[0] < first.losses[0] / 2
    assert (tmp_path / "second" / "tokenizer.json").read_text() == (tmp_path / "first" / "tokenizer.json").read_text()
    assert "trained on from another student" in (tmp_path / "second" / "README.md").read_text()
    assert "trained from scratch" in (tmp_path / "first" / "README.md").read_text()
    with pytest.raises(ValueError, match=r"has hidden_size 32, and the configuration asks for 64"):
        train_student(
            make_examples(10), GRAMMAR, further.model_copy(update={"width": 64}), tmp_path / "third",
            start_from=tmp_path / "first",
        )  # fmt: skip
    assert not (tmp_path / "third").exists()


def test_a_killed_run_that_goes_on_from_another_student_ends_the_same(tmp_path: Path) -> None:
    train_student(make_examples(50), GRAMMAR, SMALL, tmp_path / "first")
    arguments = (make_examples(40, seed=2), GRAMMAR, SMALL)
    train_student(*arguments, tmp_path / "whole", start_from=tmp_path / "first")
    with pytest.raises(KilledError):
        train_student(*arguments, tmp_path / "killed", start_from=tmp_path / "first", progress=kill_after(7))
    train_student(*arguments, tmp_path / "killed", start_from=tmp_path / "first")
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_a_training_that_diverges_says_so_and_leaves_no_student(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"learning_rate": 1e30, "clip": 1e30, "warmup": 0})
    with pytest.raises(ArithmeticError, match="lower learning_rate"):
        train_student(make_examples(10), GRAMMAR, config, tmp_path / "student")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    ("warmup", "steps", "shares"),
    [
        (3, 7, [0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]),
        (0, 4, [1, 0.75, 0.5, 0.25]),
        (9, 4, [0.25, 0.5, 0.75, 1]),
        (0, 1, [1]),
    ],
)
def test_the_learning_rate_rises_to_its_peak_and_falls_towards_zero(
    warmup: int, steps: int, shares: list[float]
) -> None:
    config = SMALL.model_copy(update={"warmup": warmup, "steps": steps})
    assert [training._schedule(step, config) for step in range(steps)] == pytest.approx(shares)


def test_every_epoch_holds_every_example_once_and_batches_hold_like_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_POOL_BATCHES", 3)
    lengths = np.random.default_rng(0).integers(1, 100, 20).tolist()
    batches = training.batches_by_length(lengths, 2, np.random.default_rng(1))
    epochs = [[next(batches) for _ in range(10)] for _ in range(3)]
    for epoch in epochs:
        assert sorted(index for batch in epoch for index in batch) == list(range(20))
        # Pools of six are sorted before they are cut into pairs, so no two pairs of a pool overlap.
        pools = [epoch[:3], epoch[3:6], epoch[6:9]]
        for pool in pools:
            spans = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in pool)
            assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1e-3},
        {"warmup": 1},
        {"weight_decay": 0.9},
        {"clip": 0.01},
        {"temperature": 2.0},
        {"seed": 1},
        {"batch_size": 2},
        {"heads": 4},
    ],
)
def test_every_setting_of_the_training_counts(tmp_path: Path, change: dict[str, float]) -> None:
    config = SMALL.model_copy(update={"steps": 3})
    folders = []
    for name, one in (("as it is", config), ("changed", config.model_copy(update=change))):
        train_student(make_examples(12), GRAMMAR, one, tmp_path / name)
        folders.append(load_file(tmp_path / name / "model.safetensors"))
    left, right = folders
    assert not all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ({"layers": 1}, {"num_hidden_layers": 1}),
        ({"width": 16}, {"hidden_size": 16}),
        ({"feed_forward": 40}, {"intermediate_size": 40}),
        ({"context": 96}, {"max_position_embeddings": 96}),
        ({"heads": 4}, {"num_attention_heads": 4}),
        ({"vocabulary_size": 280}, {"vocab_size": 280}),
    ],
)
def test_the_model_has_the_shape_that_is_asked_for(
    tmp_path: Path, change: dict[str, int], shape: dict[str, int]
) -> None:
    config = SMALL.model_copy(update={"steps": 1} | change)
    train_student(make_examples(40), GRAMMAR, config, tmp_path / "student")
    found = json.loads((tmp_path / "student" / "config.json").read_text())
    assert {name: found[name] for name in shape} == shape


def test_a_tokenizer_is_learnt_from_examples_spread_over_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def learn(texts, *arguments):
        seen.extend(texts)
        return tokenizer(seen, *arguments)

    tokenizer = training.train_tokenizer
    monkeypatch.setattr(training, "train_tokenizer", learn)
    monkeypatch.setattr(training, "_TOKENIZER_EXAMPLES", 4)
    examples = make_examples(13)
    train_student(examples, GRAMMAR, SMALL.model_copy(update={"steps": 1}), tmp_path / "student")
    assert [text for text in seen if text.startswith("task")] == [one.prompt for one in examples[::3]]
    assert len(seen) == 5 * 4


def test_the_report_tells_means_of_equal_parts_of_the_run(tmp_path: Path) -> None:
    losses: list[float] = []
    config = SMALL.model_copy(update={"steps": 25})
    report = train_student(
        make_examples(12), GRAMMAR, config, tmp_path / "student", progress=lambda _, loss: losses.append(loss)
    )
    assert len(report.losses) == 20
    parts = np.array_split(np.asarray(losses), 20)
    assert report.losses == pytest.approx([part.mean() for part in parts], abs=1e-4)
    assert StudentReport.model_validate_json((tmp_path / "student" / "report.json").read_bytes()) == report


def test_the_tokens_read_are_those_of_all_steps(tmp_path: Path) -> None:
    (example,) = make_examples(1)
    report = train_student([example], GRAMMAR, SMALL.model_copy(update={"steps": 3}), tmp_path / "student")
    tokens = len(train_tokens(tmp_path / "student", example.prompt))
    tokens += sum(len(train_tokens(tmp_path / "student", f" {action}\n")) - 1 for action in example.actions)
    assert report.longest == tokens
    assert report.tokens == 3 * tokens


def test_reading_adds_what_the_prompt_costs_to_foresee_and_is_learnt() -> None:
    examples = make_examples(8)
    tokenizer = train_tokenizer([example.prompt for example in examples], (), 300, 128)
    encoded = encode_examples(examples, tokenizer, 128)
    model = make_student(SMALL, len(tokenizer))
    with torch.inference_mode():
        _, read = candidate_and_prompt_log_probabilities(model, [packed for packed, _ in encoded])
        plain, both = (float(student_loss(model, encoded, 0.25, reading=weight)) for weight in (0.0, 0.3))
    assert both == pytest.approx(plain - 0.3 * float(read.mean()), rel=1e-5)
    losses = []
    for weight in (0.0, 1.0):
        student = make_student(SMALL, len(tokenizer))
        for _ in range(20):
            student_loss(student, encoded, 0.25, reading=weight).backward()
            with torch.no_grad():
                for parameter in student.parameters():
                    parameter -= 0.05 * (parameter.grad if parameter.grad is not None else 0)
                    parameter.grad = None
        with torch.inference_mode():
            _, read = candidate_and_prompt_log_probabilities(student, [packed for packed, _ in encoded])
        losses.append(-float(read.mean()))
    assert losses[1] < 0.9 * losses[0]


def test_a_target_is_learnt_in_place_of_one_action(tmp_path: Path) -> None:
    spread = [
        StudentExample(example.prompt, example.actions, example.chosen, (0.2, 0.3, 0.5))
        for example in make_examples(60)
    ]
    config = SMALL.model_copy(update={"steps": 200, "batch_size": 16, "learning_rate": 5e-3, "warmup": 20})
    train_student(spread, GRAMMAR, config, tmp_path / "student")
    actor = LanguageModelActor(
        tmp_path / "student", device="cpu", length_normalised=True, temperature=config.temperature
    )
    found = actor.score([example.prompt for example in spread], [example.actions for example in spread])
    assert np.mean([one.probabilities for one in found], axis=0) == pytest.approx([0.2, 0.3, 0.5], abs=0.05)
    with pytest.raises(ValueError, match="a target of 2 probabilities cannot be for 3 actions"):
        train_student(
            [StudentExample("task: x\npage:\naction:", ("a", "b", "c"), 0, (0.5, 0.5))], GRAMMAR, SMALL, tmp_path / "x"
        )
