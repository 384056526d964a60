from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import EncoderMismatchError
from sightline.retrieval.text import default
from sightline.retrieval.text.default import default_encoder, encoder_named
from sightline.retrieval.text.sentence_transformer import PACKAGED_MODEL_NAME


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    default_encoder.cache_clear()
    default._packaged_encoder.cache_clear()
    yield
    default_encoder.cache_clear()
    default._packaged_encoder.cache_clear()


class Packaged(HashingEncoder):
    """Stands for the packaged model, whose loading takes long."""

    def __init__(self) -> None:
        super().__init__(384)
        self.name = PACKAGED_MODEL_NAME


def documents(name: str) -> list[Document]:
    return [Document(id=name, content=f"text of {name}")]


def test_a_store_keeps_the_encoder_it_was_made_with_whatever_is_installed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "sentence_transformers", None)
        with LocalEmbeddingStore(path=tmp_path) as store:
            assert store.encoder.name == "hashing-384"
            store.add(documents("a"))
    default_encoder.cache_clear()
    monkeypatch.setattr(default, "SentenceTransformerEncoder", Packaged)
    assert default_encoder().name == PACKAGED_MODEL_NAME
    for read_only in (False, True):
        with LocalEmbeddingStore(path=tmp_path, read_only=read_only) as store:
            assert store.encoder.name == "hashing-384"
            assert store.search("text of a")[0].score == pytest.approx(1.0)
    with LocalEmbeddingStore(path=tmp_path / "new") as store:
        assert store.encoder.name == PACKAGED_MODEL_NAME
    with LocalEmbeddingStore(path=tmp_path / "new") as store:
        assert store.encoder is default_encoder()


def test_a_store_of_the_packaged_model_says_what_to_install_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    LocalEmbeddingStore(Packaged(), tmp_path).close()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'sightline-retrieval\[sentence-transformers\]'"):
        LocalEmbeddingStore(path=tmp_path)


@pytest.mark.parametrize("name", ["mine", "hashing-0", "hashing-", "hashing-8x", "hashing-08", ""])
def test_an_encoder_that_its_name_does_not_make_has_to_be_given(tmp_path: Path, name: str):
    with pytest.raises(EncoderMismatchError, match="cannot make; give it"):
        encoder_named(name)
    encoder = HashingEncoder(8)
    encoder.name = name
    LocalEmbeddingStore(encoder, tmp_path).close()
    with pytest.raises(EncoderMismatchError, match="give it"):
        LocalEmbeddingStore(path=tmp_path)
    LocalEmbeddingStore(encoder, tmp_path).close()


def test_hashing_of_any_dimension_is_made_from_its_name():
    made = encoder_named("hashing-17")
    assert (made.name, made.dimension) == ("hashing-17", 17)


def test_the_default_without_the_extra_says_that_it_knows_words_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with caplog.at_level(logging.WARNING):
        assert default_encoder() is default_encoder()
    (record,) = caplog.records
    assert "by shared words (encoder 'hashing-384')" in record.getMessage()
