from __future__ import annotations

import numpy as np
from scipy import stats

from sightline.agents.planning.tree import noise


def test_gumbel_noise_has_its_distribution() -> None:
    drawn = noise.gumbel(noise.root_seeds(0, 5000), 4)
    assert stats.kstest(drawn.ravel(), "gumbel_r").pvalue > 0.01
    assert abs(np.corrcoef(drawn.T)[np.triu_indices(4, 1)]).max() < 0.05


def test_noise_belongs_to_the_seed_and_not_to_its_neighbours() -> None:
    seeds = noise.root_seeds(3, 10)
    legal = np.ones((10, 4), bool)
    for draw in (
        lambda s: noise.gumbel(s, 4),
        lambda s: noise.tie_breaks(s, 4),
        lambda s: noise.dirichlet(s, legal[: len(s)]),
    ):
        assert (draw(seeds)[7] == draw(seeds[7:8])[0]).all()


def test_dirichlet_noise_is_a_distribution_over_the_legal_actions() -> None:
    legal = np.array([[True, False, True, True], [False, True, False, False], [False] * 4])
    drawn = noise.dirichlet(noise.root_seeds(1, 3), legal)
    np.testing.assert_allclose(drawn.sum(axis=1), [1, 1, 0])
    assert not drawn[~legal].any()


def test_more_roots_do_not_change_the_seeds_of_the_first_ones() -> None:
    assert noise.root_seeds(5, 20)[:7].tolist() == noise.root_seeds(5, 7).tolist()
