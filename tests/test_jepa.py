"""The experiment with steered predictors, end to end in small."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

MODES = {"none", "category", "keywords", "unreliable", "filter, category", "filter, unreliable"}


@pytest.mark.slow
def test_the_experiment_compares_all_methods_and_a_second_start_ends_in_the_same_results(
    tmp_path: Path, run_app: Callable[..., str]
) -> None:
    shown = run_app("jepa", tmp_path, "--smoke")
    folder = tmp_path / "jepa" / "smoke"
    first = (folder / "results.json").read_bytes()
    found = json.loads(first)
    assert set(found) == {"shop", "documentation", "docstrings"}
    page = html.unescape((folder / "report.html").read_text())
    assert "Every aim of ranking is met on shop, documentation, docstrings by" in " ".join(shown.split())
    for name, of_data in found.items():
        models = {"scorer", "scorer with residual", "predictor", "routed predictor", "predictor, with SIGReg"}
        models |= {"default", "default with BM25", "scorer with BM25", "adapter, soft filter with BM25"}
        assert {"BM25", "cosine", "adapter, steered", *models} <= set(of_data["methods"])
        assert all(set(modes) == MODES for modes in of_data["methods"].values())
        assert len(of_data["claims"]) == 24
        assert of_data["recommendation"] in page
        cards = list(folder.glob(f"stages/5-explanations-*-{name}-*/card-*.html"))
        assert cards
        assert all("A smoke run" in card.read_text() for card in [*cards, folder / "report.html"])
    assert (folder / "report.html").read_text().count("<img") == 22
    stages = folder / "stages"
    for stage in ("3-scores-predictor-shop-seed1", "5-explanations-routed-predictor-documentation-seed0"):
        for file in (stages / stage).iterdir():
            file.unlink()
        (stages / stage).rmdir()
    run_app("jepa", tmp_path, "--smoke")
    assert (folder / "results.json").read_bytes() == first


def test_a_predictor_of_the_wrong_kind_is_explained(
    tmp_path: Path, start_app: Callable[..., CompletedProcess[str]]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("plain:\n  model: routed\n")
    done = start_app("jepa", tmp_path, "--config", str(file))
    assert done.returncode != 0
    assert "plain.model must be 'plain'" in done.stdout + done.stderr
