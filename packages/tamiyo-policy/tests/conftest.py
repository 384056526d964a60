from collections.abc import Callable

import numpy as np
import pytest
import torch

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


@pytest.fixture
def finite_difference_error() -> Callable[..., float]:
    """How far a pullback is from central differences, relative to the largest of them.

    The function takes `function(*points) -> (result, pullback)` and the points, float64; the pullback gives a gradient
    for each point. Gradients are compared along random directions.
    """

    def error(function, *points: torch.Tensor) -> float:
        generator = torch.Generator().manual_seed(1)
        result, pullback = function(*points)
        weight = torch.randn(result.shape, generator=generator, dtype=torch.float64)
        gradients = pullback(weight.clone())
        worst, largest, step = 0.0, 0.0, 1e-6
        for index, gradient in enumerate(gradients):
            for _ in range(5):
                direction = torch.randn(points[index].shape, generator=generator, dtype=torch.float64)
                ends = [
                    function(*points[:index], points[index] + sign * step * direction, *points[index + 1 :])[0]
                    for sign in (1, -1)
                ]
                difference = float(((ends[0] - ends[1]) * weight).sum()) / (2 * step)
                worst = max(worst, abs(difference - float((gradient * direction).sum())))
                largest = max(largest, abs(difference))
        return worst / largest

    return error
