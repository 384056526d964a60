from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightline.jepa.asking import Answerer, AnswererError, HashedTermsEncoder
from sightline.jepa.asking import contents as module
from sightline.jepa.asking.contents import read_contents, write_contents
from sightline.jepa.ranking import SharedWords


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_what_is_read_answers_as_what_was_written(fitted: Answerer, answerer: Answerer):
    for question, category in (("how do I stop the parcel", None), ("how do I verify the date", "account")):
        assert answerer.ask(question, category=category) == fitted.ask(question, category=category)


@pytest.mark.parametrize("name", module._FILES)
def test_a_damaged_file_is_named(copy: Path, name: str):
    (path,) = copy.glob(f"content-*/{name}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(AnswererError, match=f"{path.name} is damaged"):
        read_contents(copy)
    path.unlink()
    with pytest.raises(AnswererError, match=f"{path.name} is missing"):
        read_contents(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"content": "../elsewhere"}, "content"),
        ({"categories": []}, "categories"),
        ({"surprise": 1}, "surprise"),
        ({"checksums": {}}, "has no checksum of model.safetensors"),
        ({"encoder": "another"}, "the encoder is 'another', but the model's is 'hashed-terms-64'"),
        ({"categories": [{"name": "billing", "description": "b"}] * 3}, "not those of the model"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy: Path, change: dict[str, object], said: str):
    path = copy / module.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(AnswererError, match=said):
        read_contents(copy)


def test_how_much_words_count_is_written_as_it_has_always_been_and_read_back(worded_folder: Path, tmp_path: Path):
    contents = read_contents(worded_folder)
    words = SharedWords(weight=0.5, saturation=0.75, length_penalty=1.0, validation=0.5, validation_without=0.25)
    write_contents(tmp_path, replace(contents, shared_words=words))
    written = (
        b'  "shared_words": {\n    "weight": 0.5,\n    "saturation": 0.75,\n    "length_penalty": 1.0,\n'
        b'    "validation": 0.5,\n    "validation_without": 0.25\n  },\n'
    )
    assert written in (tmp_path / module.MANIFEST).read_bytes()
    assert read_contents(tmp_path).shared_words == words


def test_a_folder_from_before_words_counted_is_read_as_one_in_which_they_do_not(
    worded_folder: Path, encoder: HashedTermsEncoder, tmp_path: Path
):
    shutil.copytree(worded_folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / module.MANIFEST
    manifest = json.loads(path.read_text())
    assert manifest.pop("shared_words")["weight"] > 0
    path.write_text(json.dumps(manifest))
    old = Answerer.from_pretrained(tmp_path, encoder)
    assert old.shared_words is None
    answer = old.ask("how do I stop the parcel ticket3")
    assert {source.shared_words for source in answer.sources} == {0.0}
    texts = list(old.sources.values())
    vectors = encoder.encode(["how do I stop the parcel ticket3", *texts])
    order = np.argsort(-(vectors[1:] @ vectors[0]), kind="stable")[:10]
    assert [source.text for source in answer.sources] == [texts[place] for place in order]


@pytest.mark.parametrize(("key", "value"), [("weight", -1.0), ("saturation", 0.0), ("length_penalty", 2.0)])
def test_words_that_cannot_count_so_are_refused(worded_folder: Path, tmp_path: Path, key: str, value: float):
    shutil.copytree(worded_folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / module.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["shared_words"][key] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(AnswererError, match=rf"shared_words\.{key}"):
        read_contents(tmp_path)


def test_a_folder_without_an_answerer_is_refused(tmp_path: Path, encoder: HashedTermsEncoder):
    with pytest.raises(FileNotFoundError, match="holds no answerer"):
        Answerer.from_pretrained(tmp_path, encoder)


@pytest.mark.parametrize("call", range(6))
def test_a_write_that_fails_anywhere_leaves_the_old_answerer_and_nothing_else(
    copy: Path, call: int, monkeypatch: pytest.MonkeyPatch
):
    contents = read_contents(copy)
    before = sorted(copy.rglob("*"))
    steps = [0]

    def failing(function):
        def run(*arguments, **keywords):
            steps[0] += 1
            if steps[0] > call:
                raise OSError("no space left on device")
            return function(*arguments, **keywords)

        return run

    for name in ("write_policy", "atomic_file", "sync_folder", "_checksum"):
        monkeypatch.setattr(module, name, failing(getattr(module, name)))
    with pytest.raises(OSError, match="no space left"):
        write_contents(copy, contents)
    monkeypatch.undo()
    assert sorted(copy.rglob("*")) == before
    assert read_contents(copy).sources == contents.sources


def test_a_new_answerer_replaces_the_old_one_and_leaves_other_files_alone(copy: Path, answerer: Answerer):
    (copy / "notes.txt").write_text("mine")
    answerer.add_sources(["a page about kites"], ["billing"])
    answerer.save_pretrained(copy)
    assert len(list(copy.glob("content-*"))) == 1
    assert (copy / "notes.txt").read_text() == "mine"
    assert read_contents(copy).sources[-1].text == "a page about kites"


def test_nothing_in_the_folder_is_a_pickle(folder: Path):
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".jsonl", ".safetensors", ".md"}
