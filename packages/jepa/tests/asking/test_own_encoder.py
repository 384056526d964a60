from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sightline.jepa import JEPAConfig, Trainer, build_dataset
from sightline.jepa.asking import Answerer, AnswererError, HashedTermsEncoder, TunedEncoder, open_encoder
from sightline.jepa.asking import own_encoder as module
from sightline.jepa.asking.contents import MANIFEST, _checksum
from sightline.jepa.asking.own_encoder import open_own_encoder
from sightline.jepa.data import SteeringTexts

QUESTION = "ask1 about5"
NAME = "small-tuned-0123456789ab"


@pytest.fixture(scope="module")
def tuned_folder(coded_texts: SteeringTexts, coded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written answerer whose encoder can be had from its folder alone, which no test changes."""
    root = tmp_path_factory.mktemp("tuned")
    shutil.copytree(coded_model, root / "model")
    encoder = TunedEncoder(root / "model", NAME, "cpu")
    dataset = build_dataset(coded_texts, encoder.encode, encoder=NAME, fractions=(0.5, 0.3, 0.2))
    training = {"epochs": 1, "warmup_epochs": 0}
    config = JEPAConfig.model_validate({"model": "plain", "predictor": {"dimension": 16}, "training": training})
    trainer = Trainer(config, dataset)
    trainer.fit()
    Answerer.fit(trainer.model, dataset, encoder).save_pretrained(root / "answers")
    shutil.rmtree(root / "model")
    return root / "answers"


@pytest.fixture
def copy(tuned_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tuned_folder, tmp_path / "copy"))


def rewrite(folder: Path, name: str, content: bytes | None) -> None:
    """Change, add or remove a file of the encoder, and let the manifest say so, as whoever means harm would."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    file = folder / manifest["content"] / name
    if content is None:
        file.unlink()
        del manifest["checksums"][name]
    else:
        file.write_bytes(content)
        manifest["checksums"][name] = _checksum(file)
    path.write_text(json.dumps(manifest))


def test_a_folder_brings_its_tuned_encoder_along(tuned_folder: Path, coded_model: Path, tmp_path: Path):
    answerer = Answerer.from_pretrained(tuned_folder)
    found = answerer.ask(QUESTION)
    again = open_own_encoder(str(tuned_folder))
    assert again.name == NAME
    np.testing.assert_array_equal(again.encode([QUESTION]), open_encoder(str(coded_model)).encode([QUESTION]))
    answerer.add_sources(["say1 thing5 please"], ["kind1"], ids=["new"])
    for _ in range(2):  # into the folder that it was written to before as well
        answerer.save_pretrained(tmp_path)
    shutil.move(tmp_path, tmp_path.with_name("moved"))
    moved = Answerer.from_pretrained(tmp_path.with_name("moved"))
    assert "new" in moved.sources
    moved.remove_sources(["new"])
    assert moved.ask(QUESTION) == found


def test_weights_are_safetensors_and_nothing_else_lies_there(tuned_folder: Path):
    names = {path.suffix for path in tuned_folder.glob("content-*/encoder/**/*") if path.is_file()}
    assert ".safetensors" in names
    assert names <= module._SUFFIXES


def test_the_untuned_encoder_is_refused_by_name_and_by_vectors(tuned_folder: Path, coded_model: Path, tmp_path: Path):
    with pytest.raises(AnswererError, match=f"trained with encoder '{NAME}', not .*leave the encoder out"):
        Answerer.from_pretrained(tuned_folder, open_encoder(str(coded_model)))
    other = Path(shutil.copytree(coded_model, tmp_path / "other"))
    (weights,) = other.glob("**/*.safetensors")
    changed = {name: values[..., ::-1].copy() for name, values in load_file(weights).items()}
    save_file(changed, weights, {"format": "pt"})
    with pytest.raises(AnswererError, match="right name, but gives other vectors"):
        Answerer.from_pretrained(tuned_folder, TunedEncoder(other, NAME, "cpu"))


def test_any_other_encoder_is_opened_by_the_name_in_the_folder(folder: Path, fitted: Answerer):
    assert isinstance(open_own_encoder(folder), HashedTermsEncoder)
    assert Answerer.from_pretrained(str(folder)).ask("stop the parcel") == fitted.ask("stop the parcel")
    assert not list(folder.glob("content-*/encoder"))


def test_a_damaged_or_missing_file_of_the_encoder_is_named(copy: Path):
    (weights,) = copy.glob("content-*/encoder/**/*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(AnswererError, match=f"{weights.name} is damaged"):
        Answerer.from_pretrained(copy)
    weights.unlink()
    with pytest.raises(AnswererError, match=f"{weights.name} is missing"):
        Answerer.from_pretrained(copy)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("encoder/module.py", b"raise SystemExit", "holds 'encoder/module.py', which no tuned encoder has"),
        ("encoder/pytorch_model.bin", b"\x80", "holds 'encoder/pytorch_model.bin'"),
        ("encoder/modules.json", b'[{"type": "joblib.numpy_pickle"}]', "names 'joblib.numpy_pickle'"),
        ("encoder/modules.json", b'[{"type": "sentence_transformers.util.torch"}]', "is no part of sentence-trans"),
        ("encoder/modules.json", b'[{"type": "sentence_transformersX.A"}]', "is no part of sentence-trans"),
        ("encoder/modules.json", b"{}}", "does not name the parts of a model"),
        ("encoder/modules.json", b'[{"kind": 1}]', "does not name the parts of a model"),
        ("encoder/modules.json", None, "does not name the parts of a model"),
    ],
)
def test_what_could_be_executed_is_refused_even_with_a_fitting_manifest(
    copy: Path, name: str, content: bytes | None, said: str
):
    rewrite(copy, name, content)
    with pytest.raises(AnswererError, match=said):
        Answerer.from_pretrained(copy)


def test_a_file_that_the_manifest_does_not_know_is_refused(copy: Path):
    (folder,) = copy.glob("content-*/encoder")
    (folder / "more.json").write_text("{}")
    with pytest.raises(AnswererError, match=r"holds 'encoder/more\.json'"):
        Answerer.from_pretrained(copy)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_the_encoder_is_decided_by_the_umask(copy: Path, umask: int, mode: int):
    answerer = Answerer.from_pretrained(copy)
    before = os.umask(umask)
    try:
        answerer.save_pretrained(copy)
    finally:
        os.umask(before)
    files = [file for folder in copy.glob("content-*/encoder") for file in folder.rglob("*") if file.is_file()]
    assert {"model.safetensors", "modules.json"} <= {file.name for file in files}
    assert {file.stat().st_mode & 0o777 for file in files} == {mode}


def test_a_writing_that_fails_leaves_the_old_answerer(copy: Path, monkeypatch: pytest.MonkeyPatch):
    answerer = Answerer.from_pretrained(copy)
    found = answerer.ask(QUESTION)

    def full(self: TunedEncoder, folder: Path) -> None:
        folder.mkdir()
        (folder / "half.json").write_text("{")
        raise OSError("no space left")

    monkeypatch.setattr(TunedEncoder, "save", full)
    answerer.add_sources(["say1 thing5 please"], ["kind1"])
    with pytest.raises(OSError, match="no space left"):
        answerer.save_pretrained(copy)
    assert len(list(copy.glob("content-*"))) == 1
    assert Answerer.from_pretrained(copy).ask(QUESTION) == found
