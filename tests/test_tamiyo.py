"""The growth experiment end to end, in small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

BASELINES = [
    "no growth",
    "random legal",
    "heuristic",
    "greedy counterfactual",
    "fixed schedule",
    "the rule of fifteen lines",
    "norm + mixer + mlp at birth",
    "mlp in every slot at birth",
    "mixer in every slot at birth",
    "best fixed topology",
    "larger host",
    "memoryless",
    "joint ratio",
]


@pytest.mark.slow
def test_the_experiment_compares_with_all_baselines_and_writes_everything(
    tmp_path: Path, run_app: Callable[..., str]
) -> None:
    shown = run_app("tamiyo", tmp_path, "--smoke")
    folder = tmp_path / "tamiyo" / "smoke"
    results = json.loads((folder / "results.json").read_text())
    assert [row["baseline"] for row in results["comparisons"]] == BASELINES
    methods = {row["method"]: row for row in results["methods"]}
    assert set(methods) == {"learned", "learned, most probable action", *BASELINES}
    assert methods["learned"]["training_seeds"] == 2
    assert methods["no growth"]["parameters"] == 0
    assert methods["no growth"]["test_score"] == methods["no growth"]["test_accuracy"]
    assert all(len(row["test_score_by_seed"]) == row["training_seeds"] for row in methods.values())
    assert results["claims"][0] in shown
    assert {path.name for path in folder.iterdir()} >= {"config.yaml", "manifest.json", "metrics.jsonl", "results.md"}
    page = (folder / "report.html").read_text()
    assert page.count("<img") == 5
    assert "http" not in page.split("</style>")[1].split("data:image")[0]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {(row["policy"], row["seed"], row["round"]) for row in rows} >= {("learned", 1, 2.0), ("memoryless", 0, 1.0)}


def test_settings_that_contradict_each_other_are_explained(
    tmp_path: Path, start_app: Callable[..., CompletedProcess[str]]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("growth:\n  training:\n    steps: 10\n")
    done = start_app("tamiyo", tmp_path, "--config", str(file))
    assert done.returncode != 0
    assert "search_steps must be at most 10" in done.stdout + done.stderr
