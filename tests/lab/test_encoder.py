"""Encoders by the name that a person gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.encoder import open_encoder, open_model
from lab.run import RunDirectory
from lab.settings import HASHING, EncoderSettings


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run", {}, smoke=False)


def test_a_name_that_leads_to_no_model_ends_in_words(run: RunDirectory, tmp_path: Path) -> None:
    missing = EncoderSettings(encoder=str(tmp_path / "no-model"))
    for load in (lambda: open_encoder(missing, run), lambda: open_model(missing)):
        with pytest.raises(SystemExit, match=r"(?s)no-model cannot be loaded: .+\n--encoder takes a folder or a name"):
            load()


def test_a_folder_without_a_model_ends_in_words(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="empty cannot be loaded"):
        open_encoder(EncoderSettings(encoder=str(tmp_path / "empty")), run)


def test_what_was_embedded_lies_with_the_run(run: RunDirectory) -> None:
    encoder = open_encoder(EncoderSettings(encoder=HASHING), run)
    vectors = encoder.encode(["a red mug", "a blue mug"])
    encoder.save()
    again = open_encoder(EncoderSettings(encoder=HASHING), run)
    assert len(again) == 2
    np.testing.assert_array_equal(again.encode(["a red mug", "a blue mug"]), vectors)


def test_hashed_words_have_no_model_to_tune() -> None:
    with pytest.raises(ValueError, match="no model that could be tuned"):
        open_model(EncoderSettings(encoder=HASHING))
