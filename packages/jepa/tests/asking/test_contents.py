from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sightline.jepa.asking import Answerer, AnswererError, HashedTermsEncoder
from sightline.jepa.asking import contents as module
from sightline.jepa.asking.contents import read_contents, write_contents


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
