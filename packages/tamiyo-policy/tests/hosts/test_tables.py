from __future__ import annotations

import numpy as np
import pytest

from sightline.tamiyo_policy.hosts.tables import split_table, table_data, table_tokens


@pytest.mark.parametrize(
    ("name", "sizes", "tokens", "classes"), [("wine", [89, 36, 53], 4, 3), ("breast_cancer", [284, 114, 171], 8, 2)]
)
def test_tables_are_split_as_documented(name: str, sizes: list[int], tokens: int, classes: int) -> None:
    data = table_data(name)
    assert [len(data.train), len(data.validation), len(data.test)] == sizes
    assert (data.channels, data.tokens, data.num_classes) == (4, tokens, classes)
    assert all(len(set(part.labels.tolist())) == classes for part in (data.train, data.validation, data.test))


def test_tokens_keep_the_order_of_the_columns_and_are_filled_up_with_zeros() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(2, 6)
    tokens = table_tokens(rows)
    assert tokens.shape == (2, 4, 2)
    assert tokens[0].T.ravel().tolist() == [0, 1, 2, 3, 4, 5, 0, 0]


def test_columns_are_scaled_by_the_training_part_alone_and_constant_ones_stay_finite() -> None:
    features = np.random.default_rng(0).normal(5, 3, (100, 4))
    features[:, 3] = 2.0
    data = split_table(features, np.arange(100) % 2, seed=1)
    train = data.train.inputs[:, :, 0]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train[:, :3].std(0), 1, atol=1e-5)
    assert np.isfinite(data.test.inputs).all()


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown table 'iris'; it is one of"):
        table_data("iris")
