"""Statistics have one home; the small copies, of packages that may import nothing of ours, are held equal to it."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.evaluation import bootstrap_interval, holm, sign_flip_test, wilson_interval
from sightline.teachability.selection import compare_arms

ROOT = Path(__file__).resolve().parents[1]
HOME = "sightline.agents.evaluation"
STATISTICS = re.compile(r"wilson|holm|mcnemar|sign_flip|interquartile|(?<!set_)bootstrap(?!_value)|percentile_interval")
COPIES = {
    ("webshop_env", "wilson_interval"),
    ("teachability", "cluster_bootstrap"),
    ("teachability", "holm"),
}
"""Which packages may have which function again."""
MOST_LINES = 30


@cache
def defined() -> dict[tuple[str, str], tuple[str, ast.FunctionDef]]:
    """Every statistical function outside its home: (package, name) -> module, definition."""
    found = {}
    for file in sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/**/*.py")]):
        parts = file.with_suffix("").parts
        module = ".".join(parts[parts.index("src") + 1 :]) if "src" in parts else file.stem
        if module.startswith(HOME):
            continue
        package = module.split(".")[1] if module.startswith("sightline.") else "apps"
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and STATISTICS.search(node.name):
                found[package, node.name] = (module, node)
    return found


def copy_of(package: str, name: str) -> Callable[..., Any]:
    if (package, name) not in defined():
        pytest.skip(f"{package} has no {name}")
    return getattr(importlib.import_module(defined()[package, name][0]), name)


def test_no_other_package_and_no_app_has_statistics_of_its_own() -> None:
    strangers = {module: node.name for key, (module, node) in defined().items() if key not in COPIES}
    assert not strangers, f"take them from {HOME}, or return counts and arrays for an app to do so"


def test_the_copies_are_small() -> None:
    for module, node in defined().values():
        code = node.body[1:] if ast.get_docstring(node) else node.body
        assert (node.end_lineno or 0) - code[0].lineno < MOST_LINES, f"{module}.{node.name} is no small copy"


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_shops_wilson_interval_is_that_of_agents(confidence: float) -> None:
    shops = copy_of("webshop_env", "wilson_interval")
    for trials in (1, 2, 9, 50, 500):
        for successes in {0, 1, trials // 3, trials - 1, trials}:
            found = shops(successes, trials, confidence=confidence)
            home = wilson_interval(successes, trials, confidence=confidence)
            assert (found.value, found.low, found.high) == pytest.approx((home.value, home.low, home.high), abs=1e-12)


@given(st.lists(st.floats(0, 1), max_size=15))
def test_teachabilitys_holm_is_that_of_agents(p_values: list[float]) -> None:
    assert copy_of("teachability", "holm")(p_values) == pytest.approx(holm(p_values))


def test_teachabilitys_cluster_bootstrap_is_that_of_agents() -> None:
    rng = np.random.default_rng(0)
    clusters, values = np.sort(rng.integers(0, 15, 60)), rng.random(60)
    copy = copy_of("teachability", "cluster_bootstrap")(
        lambda rows: float(values[rows].mean()), clusters.tolist(), seed=3, draws=500, confidence=0.9
    )
    home = bootstrap_interval(values, np.random.default_rng(3), groups=clusters, resamples=500, confidence=0.9)
    assert (copy.value, copy.low, copy.high) == pytest.approx((home.value, home.low, home.high), abs=1e-12)


def test_teachability_tests_leads_by_agents_flips_of_whole_groups() -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{task // 2}" for task in range(16)]
    successes = {name: rng.integers(0, 4, 16) / 3 for name in ("random", "entropy")}
    (lead,) = compare_arms(successes, groups, rival="random", test=sign_flip_test)
    sums = (successes["entropy"] - successes["random"]).reshape(8, 2).sum(axis=1)
    flipped = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=8)]
    assert lead.p == lead.p_holm == pytest.approx(np.mean(np.array(flipped) >= abs(sums.sum()) - 1e-9))
    assert lead.p != sign_flip_test([Fraction(value).limit_denominator(6) for value in sums.repeat(2) / 2])
