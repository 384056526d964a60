from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.jepa import JEPAConfig, SteeringDataset, Trainer, build_dataset
from sightline.jepa.asking import Answer, Answerer, HashedTermsEncoder
from sightline.jepa.commands.ask import in_lines
from sightline.jepa.commands.main import main
from sightline.jepa.own_data import read_own_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("asking")
    lines = [
        {"question": f"what is {area} {number}", "source": f"{area} {number} is \x1b[31mred", "category": area}
        for area in ("kettle", "garden")
        for number in range(60)
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    encoder = HashedTermsEncoder(32)
    dataset: SteeringDataset = build_dataset(
        read_own_data(root / "pairs.jsonl").texts, encoder.encode, encoder=encoder.name, fractions=(0.5, 0.3, 0.2)
    )
    config = JEPAConfig.model_validate({"model": "plain", "predictor": {"dimension": 32}, "training": {"epochs": 2}})
    trainer = Trainer(config, dataset)
    trainer.fit()
    Answerer.fit(trainer.model, dataset, encoder).save_pretrained(root / "run")
    return root / "run"


def test_a_question_is_answered_with_the_encoder_that_the_folder_names(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path / "page.html"
    asked = ["ask", "what is kettle 7", "--model", str(folder), "--category", "kettle", "--page", str(page)]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "[kettle]" in shown
    assert "\x1b" not in shown
    assert sum(line[:2] in ("1.", "2.", "3.") for line in shown.splitlines()) == 3
    assert page.read_text().startswith("<!doctype html>")
    assert main([*asked, "--json", "--top-k", "1"]) == 0
    answer = Answer.model_validate_json(capsys.readouterr().out)
    assert in_lines(answer).split()[0] == answer.decision.value.upper()


def test_what_cannot_be_asked_ends_in_a_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["ask", "what", "--model", str(folder), "--category", "kettel"]) == 2
    assert "did you mean 'kettle'" in capsys.readouterr().err
    assert main(["ask", "what", "--model", str(folder), "--encoder", "hashed-terms-64"]) == 2
    assert "not 'hashed-terms-64'" in capsys.readouterr().err
    assert main(["ask", "what", "--model", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no answerer (answerer.json is missing)" in capsys.readouterr().err
