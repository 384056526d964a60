from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.agents.evaluation import bootstrap
from sightline.agents.evaluation.bootstrap import (
    Cells,
    Clusters,
    Seeds,
    above_p_value,
    difference_p_value,
    resampled_means,
)


def every_resample(
    values: np.ndarray, weights: np.ndarray, clusters: list[list[int]], *, seeds: bool
) -> dict[float, float]:
    """The exact distribution of a resample's mean, from all equally likely draws written out as loops."""
    columns = range(values.shape[1])
    found: dict[float, float] = {}
    seed_draws = list(product(columns, repeat=values.shape[1])) if seeds else [tuple(columns)]
    unit_draws = list(product(clusters, repeat=len(clusters)))
    for drawn_seeds, drawn_clusters in product(seed_draws, unit_draws):
        means = []
        for unit in (unit for cluster in drawn_clusters for unit in cluster):
            weight = sum(weights[unit, seed] for seed in drawn_seeds)
            if weight:
                means.append(sum(values[unit, seed] * weights[unit, seed] for seed in drawn_seeds) / weight)
        mean = round(float(np.mean(means)), 9) if means else np.inf
        found[mean] = found.get(mean, 0) + 1 / len(seed_draws) / len(unit_draws)
    return found


VALUES = np.array([[0.1, 0.9, 0.2], [0.4, 0.3, 0.35], [1.0, 0.7, 0.0]])
ONES = np.ones((3, 3))
SOME = np.array([[1.0, 2.0, 1.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize("seeds", ["resampled", "fixed"])
@pytest.mark.parametrize(("groups", "clusters"), [(None, [[0], [1], [2]]), (["b", "a", "b"], [[1], [0, 2]])])
@pytest.mark.parametrize("weights", [ONES, SOME])
def test_resamples_are_those_of_all_equally_likely_draws(
    weights: np.ndarray, groups: list[str] | None, clusters: list[list[int]], seeds: Seeds
) -> None:
    expected = every_resample(VALUES, weights, clusters, seeds=seeds == "resampled")
    cells = Cells.of(VALUES, weights)
    rng = np.random.default_rng(0)
    (samples,) = resampled_means([cells], rng, Clusters(3, groups), seeds=seeds, resamples=60_000)
    shares = {mean: float(np.mean(np.isclose(samples, mean))) for mean in expected if np.isfinite(mean)}
    shares[np.inf] = float(np.isnan(samples).mean())
    assert shares == pytest.approx({np.inf: 0.0} | expected, abs=5 * np.sqrt(0.25 / 60_000))
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-9)


def test_all_methods_are_measured_on_the_same_drawn_units() -> None:
    values = np.random.default_rng(1).random(30)
    first, second = resampled_means(
        [Cells.of(values), Cells.of(values + 2)], np.random.default_rng(0), Clusters(30, None), resamples=50
    )
    assert second - first == pytest.approx(np.full(50, 2.0))
    assert len(set(first)) > 40


def test_training_seeds_of_two_methods_are_drawn_apart_unless_they_are_the_same_trainings() -> None:
    cells = Cells.of(np.tile([0.0, 1.0, 5.0], (4, 1)))  # the seed decides everything
    apart, same = (
        resampled_means([cells, cells], np.random.default_rng(0), Clusters(4, None), shared_seeds=shared)
        for shared in (False, True)
    )
    covariance = float((apart[0] * apart[1]).mean() - apart[0].mean() * apart[1].mean())
    assert covariance == pytest.approx(0, abs=0.05)
    assert np.array_equal(same[0], same[1])


@pytest.mark.parametrize("groups", [None, np.arange(40) // 3])
def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch, groups: np.ndarray | None) -> None:
    values, baseline = np.random.default_rng(2).random((40, 3)), np.random.default_rng(3).random(40)

    def samples() -> np.ndarray:
        cells, rng = [Cells.of(values), Cells.of(baseline)], np.random.default_rng(4)
        return np.stack(resampled_means(cells, rng, Clusters(40, groups), resamples=101))

    whole = samples()
    for block in (1, 40, 7 * 40):
        monkeypatch.setattr(bootstrap, "_BLOCK_VALUES", block)
        assert np.allclose(samples(), whole, rtol=0, atol=1e-12)
    assert whole.shape == (2, 101)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32))
def test_the_mean_of_a_unit_is_over_all_its_values(units: int, seeds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    runs = [[rng.random(rng.integers(0, 4)) for _ in range(seeds)] for _ in range(units)]
    runs = [row if any(map(len, row)) else [*row[:-1], rng.random(2)] for row in runs]
    means = [[each.mean() if len(each) else 0.0 for each in row] for row in runs]
    cells = Cells.of(means, [[len(each) for each in row] for row in runs])
    assert cells.unit_means == pytest.approx([np.concatenate(row).mean() for row in runs])


def test_a_seed_of_which_nothing_is_left_is_no_seed() -> None:
    cells = Cells.of([[1.0, 0.0, 2.0], [3.0, 0.0, 4.0]], [[1, 0, 1], [1, 0, 1]])
    assert cells.seeds == 2
    assert cells.unit_means.tolist() == [1.5, 3.5]


def test_only_values_that_exist_make_a_table_constant() -> None:
    assert Cells.of([[1.0, 0.0], [1.0, 1.0]], [[1, 0], [1, 1]]).constant()
    assert not Cells.of([[1.0, 0.0], [1.0, 1.0]]).constant()


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        (np.zeros((2, 2, 2)), None, "3 dim"),
        ([[0.0, np.inf], [0.0, np.nan]], None, "2 are not"),
        ([1.0, 2.0], [1.0], r"weights must be \[2\] like the values"),
        ([1.0, 2.0], [1.0, -1.0], "not negative"),
        ([1.0, 2.0], [1.0, np.nan], "not negative"),
        ([[1.0, 2.0], [1.0, 2.0]], [[1, 1], [0, 0]], "unit 1 has no value"),
    ],
)
def test_what_is_no_table_of_values_is_refused(values: np.ndarray, weights: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cells.of(values, weights)


def test_every_unit_needs_a_cluster() -> None:
    with pytest.raises(ValueError, match=r"groups must be \[3\], one label per unit, not \[2\]"):
        Clusters(3, [0, 1])


def test_a_p_value_counts_the_resamples_on_the_wrong_side_and_is_never_zero() -> None:
    samples = np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert above_p_value(samples, 0.0) == pytest.approx(2 * (2 + 1) / 10)
    assert above_p_value(samples, -1.5) == pytest.approx(2 / 10)
    assert above_p_value(samples, 5.5) == 1.0
    assert difference_p_value(samples) == difference_p_value(-samples) == pytest.approx(6 / 10)
    assert difference_p_value(np.ones(99)) == pytest.approx(2 / 100)
    assert difference_p_value(np.zeros(99)) == 1.0
