from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval import Document, HashingEncoder, HybridSearch, LocalEmbeddingStore, rerank
from sightline.retrieval.ranking import CrossEncoderReranker, Reranker

DOCUMENTS = [Document(id=name, content=text) for name, text in [("a", "xx"), ("b", "xxxx"), ("c", "x"), ("d", "yyyy")]]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lamp", "mug", "grey", "desk", "coffee"]


def by_length(query: str, texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def test_documents_come_in_the_order_of_the_rerankers_scores_with_ties_as_given():
    found = rerank("query", DOCUMENTS, by_length)
    assert [(hit.document.id, hit.score, hit.rank_before) for hit in found] == [
        ("b", 4.0, 2),
        ("d", 4.0, 4),
        ("a", 2.0, 1),
        ("c", 1.0, 3),
    ]
    assert rerank("query", DOCUMENTS, by_length, top_k=2) == found[:2]


def test_the_reranker_sees_the_query_and_the_contents_once():
    seen = []

    def watching(query: str, texts: Sequence[str]) -> np.ndarray:
        seen.append((query, list(texts)))
        return np.zeros(len(texts))

    rerank("query", iter(DOCUMENTS[:2]), watching)
    assert seen == [("query", ["xx", "xxxx"])]
    assert rerank("query", [], watching) == []
    assert len(seen) == 1


@pytest.mark.parametrize("scores", [[1, 2, 3], [[1], [2], [3], [4]], [1, 2, 3, np.nan], [1, 2, 3, np.inf]])
def test_a_reranker_that_breaks_its_promise_is_refused(scores: list):
    with pytest.raises(ValueError, match="4 finite numbers"):
        rerank("query", DOCUMENTS, lambda query, texts: scores)


def test_a_blank_query_or_no_hits_to_give_are_refused():
    with pytest.raises(ValueError, match="blank"):
        rerank(" ", DOCUMENTS, by_length)
    with pytest.raises(ValueError, match="top_k"):
        rerank("query", DOCUMENTS, by_length, top_k=0)


def save_model(folder: Path, labels: int) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=1.0,  # so that scores differ visibly
        id2label={number: str(number) for number in range(labels)},
    )
    model = BertForSequenceClassification(config)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=64, **special).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("cross-encoder"), labels=1)


def test_a_cross_encoder_scores_pairs_as_its_model_does(model_folder: Path):
    import torch
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    texts = ["grey lamp", "coffee mug", "desk", "grey desk lamp mug coffee"]
    reranker: Reranker = CrossEncoderReranker(model_folder, device="cpu", batch_size=2)
    scores = np.asarray(reranker("lamp", texts))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model_folder)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder).eval()
    with torch.no_grad():
        logits = [model(**tokenizer("lamp", text, return_tensors="pt")).logits.item() for text in texts]
    expected = torch.sigmoid(torch.tensor(logits)).numpy()
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3
    assert np.asarray(reranker("lamp", [])).shape == (0,)
    with pytest.raises(TypeError, match="one string"):
        reranker("lamp", "grey lamp")


def test_a_cross_encoder_orders_what_hybrid_search_found(model_folder: Path):
    store = LocalEmbeddingStore(HashingEncoder(32))
    store.add(Document(id=text, content=text) for text in ("grey lamp", "coffee mug", "grey desk"))
    hits = HybridSearch(store).search("grey lamp", top_k=3)
    reranker = CrossEncoderReranker(model_folder, device="cpu")
    found = rerank("grey lamp", [hit.document for hit in hits], reranker, top_k=2)
    scores = {hit.document.id: reranker("grey lamp", [hit.document.content])[0] for hit in hits}
    assert [hit.document.id for hit in found] == sorted(scores, key=lambda name: -scores[name])[:2]
    assert [hits[hit.rank_before - 1].document for hit in found] == [hit.document for hit in found]


def test_a_model_with_several_scores_per_pair_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="3 scores per pair"):
        CrossEncoderReranker(save_model(tmp_path, labels=3), device="cpu")


def test_a_missing_model_or_wrong_numbers_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CrossEncoderReranker(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="batch_size"):
        CrossEncoderReranker(tmp_path, batch_size=0)


def test_without_sentence_transformers_the_error_names_the_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"sightline-retrieval\[sentence-transformers\]"):
        CrossEncoderReranker(tmp_path)
