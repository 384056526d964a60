from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sightline.retrieval import CachedEncoder, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.conditioned import read_examples, write_examples

GOLDEN = Path(__file__).parent / "data" / "golden"


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        return importlib.import_module("retrieval_golden")


@pytest.mark.parametrize("read_only", [True, False])
def test_a_store_that_an_earlier_version_left_opens_with_all_that_is_in_it(
    tmp_path: Path, golden: ModuleType, read_only: bool
):
    shutil.copytree(GOLDEN / "store", tmp_path / "store")
    with LocalEmbeddingStore(HashingEncoder(4), tmp_path / "store", read_only=read_only) as store:
        expected = {document.id: document for document in (*golden.DOCUMENTS, golden.REPLACED)}
        assert {document.id: document for document in store.documents()} == expected
        for vector, name in zip(golden.VECTORS[[0, 1, 3]], ["lamp", "é ★", "mug"], strict=True):
            (hit,) = store.search(vector, top_k=1)
            assert (hit.document.id, round(hit.score, 6)) == (name, 1.0)
        assert [hit.document.id for hit in store.search([1, 0, 0, 0], where={"price": {"<": 10}})] == ["mug"]
        assert [hit.document.id for hit in store.search([1, 0, 0, 0], where={"\ud800": "\ud800"})] == ["é ★"]


def test_a_store_is_written_as_it_has_always_been(tmp_path: Path, golden: ModuleType):
    golden.write_store(tmp_path / "store")
    assert golden.dump(tmp_path / "store" / "documents.sqlite") == (GOLDEN / "documents.sqlite.txt").read_text("utf-8")
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        "documents.sqlite",
        "vectors-000001.f32",
        "writer.lock",
    ]
    for part in ("vectors-000001.f32",):
        assert (tmp_path / "store" / part).read_bytes() == (GOLDEN / "store" / part).read_bytes()


def test_the_vectors_of_a_store_are_rows_of_little_endian_float32(golden: ModuleType):
    rows = np.frombuffer((GOLDEN / "store" / "vectors-000001.f32").read_bytes(), dtype="<f4").reshape(-1, 4)
    lengths = np.linalg.norm(golden.VECTORS, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, (golden.VECTORS / lengths)[[0, 1, 2, 3]], atol=1e-7)


class Silent(HashingEncoder):
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError(f"{texts!r} are not in the cache")


def test_a_cache_that_an_earlier_version_left_gives_the_same_vectors(tmp_path: Path, golden: ModuleType):
    shutil.copy(GOLDEN / "cache", tmp_path)
    found = CachedEncoder(Silent(8), tmp_path / "cache").encode(golden.TEXTS)
    assert found.tobytes() == HashingEncoder(8).encode(golden.TEXTS).tobytes()


def test_a_cache_is_written_as_it_has_always_been(tmp_path: Path, golden: ModuleType):
    golden.write_cache(tmp_path / "cache")
    assert golden.dump(tmp_path / "cache") == (GOLDEN / "cache.txt").read_text("utf-8")


def test_examples_are_read_and_written_as_they_have_always_been(tmp_path: Path, golden: ModuleType):
    assert read_examples(GOLDEN / "examples.jsonl") == [golden.EXAMPLE]
    write_examples(tmp_path / "examples.jsonl", [golden.EXAMPLE])
    assert (tmp_path / "examples.jsonl").read_bytes() == (GOLDEN / "examples.jsonl").read_bytes()


def test_a_retriever_that_an_earlier_version_left_scores_as_it_did(tmp_path: Path, golden: ModuleType):
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    retriever = importlib.import_module("sightline.retrieval").StateConditionedRetriever.from_pretrained(
        GOLDEN / "retriever"
    )
    assert retriever.config.model_dump(exclude={"schema_version"}) == {
        "condition_dim": 2,
        "chunk_dim": 3,
        "hidden_dim": 2,
        "importance": True,
        "page_width": None,
        "text_encoder": "hashing-3",
    }
    weights = torch.cat([parameter.detach().reshape(-1) for parameter in retriever.parameters()])
    assert weights.tolist() == [number / 8 for number in range(len(weights))]
    # By hand: weights count on in eighths; hidden is gelu(W1 @ [1, 2] + b1), and the query W2 @ hidden + b2.
    hidden = [0.75, 1.625]
    hidden = [x * 0.5 * (1 + float(torch.erf(torch.tensor(x / 2**0.5)))) for x in hidden]
    query = [(6 + 2 * i) / 8 * hidden[0] + (7 + 2 * i) / 8 * hidden[1] + (12 + i) / 8 for i in range(3)]
    length = sum(x * x for x in query) ** 0.5
    expected = [query[i] / length + (15 + i) / 8 + 18 / 8 for i in range(3)]
    found = retriever.scores(torch.tensor([[1.0, 2.0]]), torch.eye(3)[None], torch.ones(1, 3, dtype=torch.bool))
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)
    golden.write_retriever(tmp_path / "retriever")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "retriever" / name).read_bytes() == (GOLDEN / "retriever" / name).read_bytes()
