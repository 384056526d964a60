import numpy as np
import pytest

from sightline.tamiyo_policy.hosts.digits import ClassificationData, Split, digits_data


def _head(split: Split, count: int) -> Split:
    return Split(split.inputs[:count], split.labels[:count])


@pytest.fixture(scope="session")
def small_digits() -> ClassificationData:
    """Real digits, few enough for quick tests."""
    data = digits_data()
    return ClassificationData(
        _head(data.train, 160), _head(data.validation, 60), _head(data.test, 50), num_classes=data.num_classes
    )


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)
