from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.jepa import SteeringDataset
from sightline.jepa.asking import Answerer, HashedTermsEncoder, TunedEncoder, open_encoder
from sightline.jepa.commands import train as training_command
from sightline.jepa.commands import tuning as module
from sightline.jepa.commands.main import main
from sightline.jepa.data import SteeringTexts, read_dataset
from sightline.jepa.training.trainer import Trainer
from sightline.jepa.tuning import EncoderTuning
from sightline.jepa.tuning import encoder as tuning

STRONG = EncoderTuning(epochs=4, batch_size=8, max_tokens=16, learning_rate=0.01, checkpoint_steps=3)
"""Tuning that a small random model learns by."""
IDLE = STRONG.model_copy(update={"epochs": 1, "learning_rate": 1e-12})
"""Tuning that changes no rank."""


@pytest.fixture(scope="module")
def data(coded_texts: SteeringTexts, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Arguments for data of which frozen vectors of a random model know nothing, and a model that learns next to it."""
    root = tmp_path_factory.mktemp("data")
    lines = [
        {"question": question, "source": source, "category": coded_texts.names[kind]}
        for question, source, kind in zip(
            coded_texts.questions, coded_texts.sources, coded_texts.source_category, strict=True
        )
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "config.yaml").write_text(
        "predictor: {hidden_dimension: 16}\nscorer: {filter: joint}\nloss: {negatives: corpus}\n"
        "training: {epochs: 1, warmup_epochs: 0, learning_rate: 1.0e-9}\n"
    )
    return "--data", str(root / "pairs.jsonl"), "--config", str(root / "config.yaml")


@pytest.fixture(autouse=True)
def from_few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_PAIRS", 50)
    monkeypatch.setattr(module, "EncoderTuning", lambda: STRONG)


def train(data: tuple[str, ...], model: Path, output: Path, *more: str) -> int:
    encoder = ("--encoder", str(model), "--encoder-device", "cpu")
    return main(["train", *data, *encoder, "--output", str(output), *more])


def written(output: Path) -> dict[str, bytes]:
    """Return what a run ends with: the report, and the answerer's files by their place in its folder."""
    (content,) = output.glob("content-*")
    files = [output / "validation.json", output / "explanations.jsonl", *content.rglob("*")]
    return {
        path.relative_to(content if content in path.parents else output).as_posix(): path.read_bytes()
        for path in files
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(data: tuple[str, ...], coded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run by which validation came to prefer the tuned encoder, and what was said meanwhile."""
    output, said = tmp_path_factory.mktemp("whole") / "run", list[str]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "LEAST_PAIRS", 50)
        patched.setattr(module, "EncoderTuning", lambda: STRONG)
        patched.setattr(training_command.logger, "handle", lambda record: said.append(record.getMessage()))
        assert train(data, coded_model, output) == 0
    return output, "\n".join(said)


def test_the_tuned_encoder_is_kept_where_its_answers_are_better_and_asked_without_being_named(
    whole: tuple[Path, str], coded_model: Path, capsys: pytest.CaptureFixture[str]
):
    output, said = whole
    report = json.loads((output / "validation.json").read_text())
    untuned, tuned = report["encoders"]
    assert untuned == str(coded_model)
    assert tuned.startswith(f"{coded_model}-tuned-")
    assert report["encoder"] == tuned
    assert report["encoders"][tuned] > report["encoders"][untuned] + 0.02
    assert report["shared_words"]["validation"] == report["encoders"][tuned]
    numbers = [f"{report['encoders'][name]:.3f}" for name in (tuned, untuned)]
    assert "kept the tuned encoder: validation MRR of answers, a mean over the kinds of steering, is " in said
    assert f"is {numbers[0]} with the tuned one, {numbers[1]} with the untuned one" in said
    assert main(["ask", "ask1 about5", "--model", str(output), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads(Answerer.from_pretrained(output).ask("ask1 about5", top_k=3).model_dump_json())
    assert main(["ask", "ask1 about5", "--model", str(output), "--encoder", str(coded_model)]) == 2
    assert f"trained with encoder {tuned!r}, not" in capsys.readouterr().err


def test_what_is_asked_does_not_need_the_folders_of_training(whole: tuple[Path, str], tmp_path: Path):
    alone = tmp_path / "alone"
    shutil.copytree(whole[0], alone, ignore=shutil.ignore_patterns("tuned", "training", "dataset"))
    answerer = Answerer.from_pretrained(alone)
    assert answerer.ask("ask1 about5") == Answerer.from_pretrained(whole[0]).ask("ask1 about5")
    assert len(list(alone.rglob("*.safetensors"))) == 3  # the encoder, the model, and the vectors


def test_the_untuned_encoder_is_kept_where_tuning_does_not_help(
    data: tuple[str, ...],
    coded_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(module, "EncoderTuning", lambda: IDLE)
    assert train(data, coded_model, tmp_path / "run") == 0
    told = capsys.readouterr()
    assert "kept the untuned encoder" in told.err
    assert f"--encoder {coded_model}" in told.out
    assert Answerer.from_pretrained(tmp_path / "run")._contents.encoder == str(coded_model)
    assert not list(tmp_path.glob("run/content-*/encoder"))


@pytest.mark.parametrize(
    ("place", "name", "call"),
    [
        (tuning, "contrastive_loss", 8),  # in the tuning, behind a checkpoint
        (TunedEncoder, "encode", 1),  # while texts are embedded anew
        (Trainer, "fit", 4),  # in the training on tuned vectors
        (training_command, "write_validation_report", 1),  # at the end
    ],
)
def test_a_run_that_was_killed_ends_with_the_same_files(
    data: tuple[str, ...],
    coded_model: Path,
    whole: tuple[Path, str],
    tmp_path: Path,
    kill_at_call: Callable[..., list[int]],
    place: object,
    name: str,
    call: int,
):
    seen = kill_at_call(place, name, call)
    output = tmp_path / "run"
    assert train(data, coded_model, output) == 130
    assert len(seen) == call
    assert train(data, coded_model, output, "--resume") == 0
    assert written(output) == written(whole[0])
    assert sorted(path.name for path in (output / "tuned").iterdir()) == ["dataset", "encoder", "training"]


def test_on_tunes_few_pairs_as_well_and_off_none(
    data: tuple[str, ...], coded_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LEAST_PAIRS", 10_000)
    assert train(data, coded_model, tmp_path / "on", "--tuning", "on") == 0
    report = json.loads((tmp_path / "on" / "validation.json").read_text())
    assert list(report["encoders"]) == [report["encoder"]]
    assert "-tuned-" in report["encoder"]
    assert not (tmp_path / "on" / "training").exists()
    monkeypatch.setattr(training_command, "tuned_encoder", None)
    for choice in ("auto", "off"):
        assert train(data, coded_model, tmp_path / choice, "--tuning", choice) == 0
        report = json.loads((tmp_path / choice / "validation.json").read_text())
        assert list(report["encoders"]) == [str(coded_model)]


def test_folds_of_a_tuned_encoder_are_tuned_without_what_they_are_asked(
    data: tuple[str, ...], coded_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tune, seen = module.tune_encoder, list[set[int]]()

    def recorded(model: Any, given: SteeringDataset, *arguments: Any, **named: Any) -> object:
        seen.append(set(given.pairs[given.pair_split == 0, 0].tolist()))
        return tune(model, given, *arguments, **named)

    monkeypatch.setattr(module, "tune_encoder", recorded)
    output = tmp_path / "run"
    assert train(data, coded_model, output, "--tuning", "on", "--folds", "2") == 0
    whole, *without = seen
    assert without[0] | without[1] == whole
    assert not without[0] & without[1]
    encoders = {read_dataset(place / "dataset").encoder for place in (output / "tuned", *output.glob("fold-*"))}
    assert len(encoders) == 3
    assert json.loads((output / "validation.json").read_text())["encoder"] in encoders


def test_a_run_does_not_go_on_with_another_choice(
    whole: tuple[Path, str], data: tuple[str, ...], coded_model: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(data, coded_model, whole[0], "--resume", "--tuning", "off") == 2
    assert "a run with other tuning" in capsys.readouterr().err


def test_an_encoder_without_a_transformer_is_left_alone_by_auto_and_refused_by_on(
    data: tuple[str, ...], tmp_path: Path, coded_dataset: SteeringDataset, capsys: pytest.CaptureFixture[str]
):
    assert not module.is_tuned("auto", HashedTermsEncoder(8), coded_dataset)
    assert main(["train", *data, "--output", str(tmp_path / "run"), "--tuning", "on"]) == 2
    assert "--tuning on needs an --encoder with a transformer" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_auto_says_in_a_line_why_it_does_not_tune(
    coded_model: Path,
    coded_dataset: SteeringDataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    encoder = open_encoder(str(coded_model), "cpu")
    caplog.set_level(logging.INFO, module.__name__)
    assert module.is_tuned("auto", encoder, coded_dataset)
    assert not caplog.messages
    fewer = replace(coded_dataset, pair_split=np.where(np.arange(len(coded_dataset.pairs)) < 49, 0, 2).astype(np.int8))
    assert not module.is_tuned("auto", encoder, fewer)
    monkeypatch.setitem(sys.modules, "peft", None)
    assert not module.is_tuned("auto", encoder, coded_dataset)
    few, missing = caplog.messages
    assert "49 training pairs are fewer than the 50" in few
    assert "pip install 'sightline-jepa[tuning]'" in missing
    with pytest.raises(ImportError, match="tuning"):
        module.check_choice("on", encoder)
