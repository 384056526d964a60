from __future__ import annotations

import pytest

from sightline.agents.chat.prices import TokenPrices

PRICES = TokenPrices(prompt=2.0, completion=8.0, cached=0.5)


def test_a_request_costs_its_cached_fresh_and_written_tokens_at_their_prices() -> None:
    assert PRICES.cost(1_000_000, 500_000, 400_000) == pytest.approx(0.6 * 2.0 + 0.4 * 0.5 + 0.5 * 8.0)


def test_cached_tokens_cost_as_much_as_others_when_they_have_no_price() -> None:
    assert TokenPrices(prompt=2.0, completion=8.0).cost(1_000_000, 0, 400_000) == pytest.approx(2.0)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_price_that_is_no_price_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="completion"):
        TokenPrices(prompt=1.0, completion=wrong)
