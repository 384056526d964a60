from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.jepa import JEPAConfig, Trainer
from sightline.jepa.asking import Answerer, HashedTermsEncoder
from sightline.jepa.commands.main import main
from sightline.jepa.commands.train import _about_trust, _about_words, settled
from sightline.jepa.explaining import Threshold
from sightline.jepa.ranking import SharedWords

AREAS = ("billing", "shipping", "account")
_ASKED = {"alter": "change", "stop": "cancel", "verify": "confirm", "locate": "find", "output": "print"}
_THINGS = ["invoice", "parcel", "password", "address", "date", "name", "theme", "badge", "price", "box"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [
        {"question": f"how do I {asked} the {thing}", "source": f"to {done} the {thing}, open {area}", "category": area}
        for area in AREAS
        for asked, done in _ASKED.items()
        for thing in _THINGS
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        "model: routed\npredictor: {hidden_dimension: 16}\ntraining: {epochs: 3, warmup_epochs: 1, patience: 9}\n"
    )
    return path


def train(data: Path, output: Path, *more: str) -> int:
    return main(["train", "--data", str(data), "--output", str(output), "--encoder", "hashed-terms-64", *more])


def test_own_pairs_become_an_answerer_with_explanations_and_routing_figures(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "run"
    assert train(data, output, "--config", str(config)) == 0
    told = capsys.readouterr()
    for shown in (
        "150 questions, 150 sources, 3 categories",
        "routing accuracy",
        "routing entropy",
        "residual length",
        "words shared",
    ):
        assert shown in told.err
    assert told.out == f'sightline-jepa ask --model {output} --encoder hashed-terms-64 "your question"\n'
    answer = Answerer.from_pretrained(output, HashedTermsEncoder(64)).ask("how do I stop the badge", category="account")
    assert answer.sources[0].id.startswith("source-")
    said = json.loads((output / "validation.json").read_text())
    assert 0 <= said["asked"]["category"]["routing_accuracy"] <= 1
    assert "headings" not in said["caution"]
    assert said["shared_words"]["validation"] >= said["shared_words"]["validation_without"]
    lines = (output / "explanations.jsonl").read_text().splitlines()
    assert len(lines) == 2 * said["questions"]
    assert len(list((output / "pages").glob("*.html"))) == 5
    assert JEPAConfig.from_yaml(output / "config.yaml").predictor.dimension == 64


@pytest.mark.parametrize(("rate", "better"), [(0.01, "joint"), (1e-9, "staged")])
def test_the_better_of_joint_and_staged_training_is_asked_and_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: float, better: str
):
    path, output = tmp_path / "scorer.yaml", tmp_path / "run"
    training = f"{{epochs: 12, warmup_epochs: 1, patience: 12, learning_rate: {rate}}}"
    path.write_text(f"loss: {{negatives: corpus}}\ntraining: {training}\n")
    assert train(data, output, "--config", str(path)) == 0
    said = json.loads((output / "validation.json").read_text())
    assert said["kept"] == {"joint": "negatives-corpus-residual-none", "staged": "staged"}[better]
    assert said["candidates"][said["kept"]] == max(said["candidates"].values())
    assert f"kept {said['kept']}" in capsys.readouterr().err
    answerer = Answerer.from_pretrained(output, HashedTermsEncoder(64))
    assert answerer._contents.model.config.scorer.filter == better
    answer = answerer.ask("how do I stop the badge", category="account", steering_strength=float("inf"))
    assert {source.category for source in answer.sources} == {"account"}


@pytest.mark.parametrize("model", ["routed", "scorer"])
def test_a_stopped_run_ends_as_one_that_was_not(
    data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
):
    config.write_text(config.read_text().replace("routed", model))
    assert train(data, tmp_path / "whole", "--config", str(config)) == 0
    fit = Trainer.fit

    def stopped(self: Trainer, stop_after: int | None = None):
        if stop_after == 3:
            raise KeyboardInterrupt
        return fit(self, stop_after)

    monkeypatch.setattr(Trainer, "fit", stopped)
    assert train(data, tmp_path / "part", "--config", str(config)) == 130
    monkeypatch.setattr(Trainer, "fit", fit)
    assert train(data, tmp_path / "part", "--config", str(config)) == 2  # not empty, and --resume was not given
    assert train(data, tmp_path / "part", "--config", str(config), "--resume") == 0
    for name in ("validation.json", "explanations.jsonl"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_does_not_go_on_with_other_data_or_settings(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "run"
    assert train(data, output, "--config", str(config)) == 0
    capsys.readouterr()
    with data.open("a") as file:
        file.write('{"source": "one more"}\n')
    assert train(data, output, "--config", str(config), "--resume", "--seed", "7") == 2
    assert "a run with other data and seed" in capsys.readouterr().err
    assert train(data, tmp_path / "nothing", "--resume") == 2
    assert "holds no run to resume" in capsys.readouterr().err


def test_questions_of_models_trained_without_them_teach_when_to_trust(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said = {}
    for folds in ("0", "2"):
        assert train(data, tmp_path / folds, "--config", str(config), "--folds", folds) == 0
        said[folds] = capsys.readouterr().err
        assert "trusted" in said[folds]
    assert "fold 2 of 2: " in said["2"]
    assert "fold" not in said["0"]
    trusts = {folds: Answerer.from_pretrained(tmp_path / folds).trust for folds in said}
    assert all(trust.target == 0.9 for trust in trusts.values())
    policies = {folds: Answerer.from_pretrained(tmp_path / folds)._contents.policy for folds in said}
    assert policies["0"].first_right != policies["2"].first_right
    assert [path.name for path in sorted((tmp_path / "2").glob("fold-*"))] == ["fold-0-of-2", "fold-1-of-2"]
    assert train(data, tmp_path / "other", "--folds", "1") == 2
    assert "--folds 1 leaves nothing to train on" in capsys.readouterr().err
    assert train(data, tmp_path / "2", "--config", str(config), "--folds", "3", "--resume") == 2
    assert "a run with other folds" in capsys.readouterr().err


def test_a_run_that_was_stopped_in_a_fold_ends_as_one_that_was_not(
    data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert train(data, tmp_path / "whole", "--config", str(config)) == 0
    fit, seen = Trainer.fit, list[int | None]()

    def stopped(self: Trainer, stop_after: int | None = None):
        seen.append(stop_after)
        if seen.count(None) == 3:  # the model itself ends with the first, and each fold is one
            fit(self, 2)
            raise KeyboardInterrupt
        return fit(self, stop_after)

    monkeypatch.setattr(Trainer, "fit", stopped)
    assert train(data, tmp_path / "part", "--config", str(config)) == 130
    monkeypatch.setattr(Trainer, "fit", fit)
    assert [path.name for path in sorted((tmp_path / "part").glob("fold-*"))] == ["fold-0-of-4", "fold-1-of-4"]
    assert train(data, tmp_path / "part", "--config", str(config), "--resume") == 0
    for name in ("validation.json", "explanations.jsonl"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_when_answers_are_trusted_is_said_in_words():
    trust = Threshold(value=0.875, target=0.9, confidence=0.95, bound=0.91, coverage=0.25, groups=70)
    said = _about_trust(trust)
    for part in ("from a confidence of 0.88 on", "25% of the questions", "at least 90%", "with 95% confidence"):
        assert part in said
    assert "no answer will be trusted" in _about_trust(trust.model_copy(update={"value": None}))


def test_bad_lines_and_bad_settings_end_in_a_sentence(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with data.open("a") as file:
        file.write("not json\n")
    assert train(data, tmp_path / "run") == 2
    assert f"{data}, line 151" in capsys.readouterr().err
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("modle: routed\n")
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:150]))
    assert train(data, tmp_path / "run", "--config", str(wrong)) == 2
    assert "key 'modle'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_too_few_pairs_are_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps({"question": f"q {n}", "source": f"s {n}"}) + "\n" for n in range(12)))
    assert train(path, tmp_path / "run") == 2
    assert "few" in capsys.readouterr().err


def test_the_data_settle_what_nobody_has_written():
    config = settled(JEPAConfig(), 64, 160, 1)
    assert (config.predictor.dimension, config.training.batch_size) == (64, 16)
    assert config.curriculum.wrong_end == 0
    written = JEPAConfig.model_validate({"predictor": {"dimension": 9}, "training": {"batch_size": 99}})
    assert settled(written, 64, 160, 2) == written
    assert settled(JEPAConfig(), 64, 100_000, 2).training.batch_size == 256


def test_what_words_are_worth_is_said_in_words():
    words = SharedWords(weight=0.5, saturation=0.75, length_penalty=1.0, validation=0.5, validation_without=0.25)
    said = _about_words(words)
    for part in ("add up to 0.5", "k1 0.75", "b 1", "0.500 with", "0.250 without"):
        assert part in said
    assert "did not help" in _about_words(words.model_copy(update={"weight": 0.0}))
