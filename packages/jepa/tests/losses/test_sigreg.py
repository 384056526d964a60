from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from sightline.jepa.losses import epps_pulley, sigreg_loss


def closed_form(sample: np.ndarray) -> float:
    """The same integral solved by hand: every product of exponentials is a Gaussian integral."""
    pairs = np.exp(-np.square(sample[:, None] - sample[None]) / 2).mean()
    own = np.exp(-np.square(sample) / 4).mean()
    return len(sample) * (math.sqrt(2 * math.pi) * pairs - 2 * math.sqrt(math.pi) * own + math.sqrt(2 * math.pi / 3))


def integrated(sample: np.ndarray) -> float:
    """The formula as it stands in the paper, by adaptive quadrature."""

    def integrand(point: float) -> float:
        found = np.exp(1j * point * sample).mean()
        return abs(found - math.exp(-(point**2) / 2)) ** 2 * math.exp(-(point**2) / 2)

    return len(sample) * quad(integrand, -12, 12, limit=400)[0]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 40),
    st.floats(-3, 3),
    st.floats(0, 4),
)
def test_the_statistic_is_the_integral_of_the_paper(seed: int, count: int, centre: float, spread: float):
    sample = np.clip(centre + spread * np.random.default_rng(seed).normal(size=count), -7, 7)
    found = float(epps_pulley(torch.from_numpy(sample)[:, None])[0])
    assert found == pytest.approx(closed_form(sample), rel=1e-3, abs=1e-3)
    assert found == pytest.approx(integrated(sample), rel=1e-3, abs=1e-3)


def test_each_sample_is_measured_apart():
    samples = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.1, 4.0])
    together = epps_pulley(samples)
    torch.testing.assert_close(together, torch.cat([epps_pulley(samples[:, [at]]) for at in range(3)]))


def test_normal_numbers_have_the_expectation_that_theory_gives_whatever_their_number():
    expected = math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3)
    for count in (10, 1000):
        samples = torch.randn(count, 2000, generator=torch.Generator().manual_seed(1))
        assert float(epps_pulley(samples).mean()) == pytest.approx(expected, rel=0.1)


def test_isotropic_predictions_are_good_and_collapsed_ones_bad_whatever_the_directions_length():
    generator = torch.Generator().manual_seed(2)
    spread = torch.nn.functional.normalize(torch.randn(400, 64, generator=generator), dim=1)
    directions = torch.randn(50, 64, generator=generator)
    good = sigreg_loss(spread, directions)
    assert float(good["loss"]) < 2
    assert float(good["worst"]) >= float(good["loss"])
    torch.testing.assert_close(sigreg_loss(spread, 7 * directions)["loss"], good["loss"])
    flat = torch.nn.functional.normalize(spread * (torch.arange(64) < 8), dim=1)
    assert float(sigreg_loss(flat, directions)["loss"]) > 10
    assert float(sigreg_loss(spread[:1].expand(400, -1), directions)["loss"]) > 50


def test_descent_pulls_a_collapsed_prediction_apart():
    generator = torch.Generator().manual_seed(3)
    rows = (torch.ones(64, 16) + 0.05 * torch.randn(64, 16, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        unit = torch.nn.functional.normalize(rows, dim=1)
        sigreg_loss(unit, torch.randn(32, 16, generator=generator))["loss"].backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(rows.detach(), dim=1)
    assert float((unit.std(dim=0) * 4).mean()) > 0.8


def test_no_predictions_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        sigreg_loss(torch.zeros(0, 4), torch.ones(1, 4))
