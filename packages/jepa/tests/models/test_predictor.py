from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from sightline.jepa.config import PredictorConfig
from sightline.jepa.models.predictor import SteeredPredictor

COUNT, DIMENSION = 7, 12
CONFIG = PredictorConfig(dimension=DIMENSION, hidden_dimension=20, dropout=0.3, steering_weight=0.4)


@pytest.fixture
def question() -> torch.Tensor:
    return normalize(torch.randn(COUNT, DIMENSION, generator=torch.Generator().manual_seed(1)), dim=1)


@pytest.fixture
def steering() -> torch.Tensor:
    return normalize(torch.randn(COUNT, DIMENSION, generator=torch.Generator().manual_seed(2)), dim=1)


@pytest.fixture
def trained() -> SteeredPredictor:
    """A predictor whose every weight says something."""
    predictor = SteeredPredictor(CONFIG)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return predictor


GIVEN = torch.tensor([True, False, True, True, False, True, False])


def test_untrained_it_is_the_rocchio_average(question: torch.Tensor, steering: torch.Tensor):
    predicted = SteeredPredictor(CONFIG).predict(question, steering, torch.ones(COUNT, dtype=torch.bool))
    torch.testing.assert_close(predicted, normalize(question + 0.4 * steering, dim=1))


def test_untrained_and_without_steering_it_is_the_question(question: torch.Tensor, steering: torch.Tensor):
    predicted = SteeredPredictor(CONFIG).predict(question, steering, torch.zeros(COUNT, dtype=torch.bool))
    torch.testing.assert_close(predicted, question)


def test_predictions_are_unit_rows(trained: SteeredPredictor, question: torch.Tensor, steering: torch.Tensor):
    predicted = trained.predict(question, steering, GIVEN)
    assert predicted.shape == (COUNT, DIMENSION)
    torch.testing.assert_close(predicted.norm(dim=1), torch.ones(COUNT))


def test_a_vector_that_is_not_given_does_not_matter(
    trained: SteeredPredictor, question: torch.Tensor, steering: torch.Tensor
):
    changed = torch.where(GIVEN[:, None], steering, torch.full_like(steering, 9.0))
    torch.testing.assert_close(trained.predict(question, steering, GIVEN), trained.predict(question, changed, GIVEN))


def test_not_given_differs_from_a_vector_of_zeros(trained: SteeredPredictor, question: torch.Tensor):
    zeros = torch.zeros_like(question)
    without = trained.predict(question, zeros, torch.zeros(COUNT, dtype=torch.bool))
    assert (without - trained.predict(question, zeros, torch.ones(COUNT, dtype=torch.bool))).abs().max() > 1e-3


def test_rows_do_not_see_each_other(trained: SteeredPredictor, question: torch.Tensor, steering: torch.Tensor):
    together = trained.predict(question, steering, GIVEN)
    apart = torch.cat([trained.predict(question[i : i + 1], steering[i : i + 1], GIVEN[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(together, apart)


def test_obedience_zero_ignores_steering(trained: SteeredPredictor, question: torch.Tensor, steering: torch.Tensor):
    without = trained.predict(question, steering, torch.zeros(COUNT, dtype=torch.bool))
    torch.testing.assert_close(trained.predict(question, steering, GIVEN, steering_strength=0.0), without)


def test_obedience_moves_along_the_line_that_steering_opens(
    trained: SteeredPredictor, question: torch.Tensor, steering: torch.Tensor
):
    trained.eval()
    at = [trained.residual(question, steering, GIVEN, steering_strength) for steering_strength in (0.0, 0.5, 1.0, 2.0)]
    torch.testing.assert_close(at[1], (at[0] + at[2]) / 2)
    torch.testing.assert_close(at[3], 2 * at[2] - at[0])
    assert (at[2] - at[0])[GIVEN].norm(dim=1).min() > 0.01
    assert (at[2] - at[0])[~GIVEN].abs().max() == 0


def test_what_steering_does_depends_on_the_question(trained: SteeredPredictor, question: torch.Tensor):
    trained.eval()
    steered = torch.ones(COUNT, dtype=torch.bool)
    same = question[:1].expand_as(question)
    change = trained.residual(question, same, steered) - trained.residual(question, same, ~steered)
    assert (change - change.mean(dim=0)).norm(dim=1).min() > 1e-3


def test_the_direction_of_steering_is_what_it_adds_beside_the_perceptron(
    trained: SteeredPredictor, question: torch.Tensor, steering: torch.Tensor
):
    with torch.no_grad():
        for parameter in (trained.residual.output.weight, trained.residual.output.bias):
            parameter.zero_()
    steered = torch.ones(COUNT, dtype=torch.bool)
    trained.eval()
    change = trained.residual(question, steering, steered) - trained.residual(question, steering, ~steered)
    torch.testing.assert_close(change, trained.residual.steering_direction(steering))


def test_every_parameter_learns(question: torch.Tensor, steering: torch.Tensor):
    predictor = SteeredPredictor(CONFIG)
    optimizer = torch.optim.SGD(predictor.parameters(), lr=0.1)
    target = question.roll(1, dims=0)
    for _ in range(2):  # at the first step the zero last layer keeps gradients from what lies below it
        optimizer.zero_grad()
        (1 - (predictor(question, steering, GIVEN) * target).sum(dim=1)).mean().backward()
        optimizer.step()
    silent = [name for name, p in predictor.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_predict_is_repeatable_and_leaves_the_mode_alone(
    trained: SteeredPredictor, question: torch.Tensor, steering: torch.Tensor
):
    trained.train()
    first = trained.predict(question, steering, GIVEN)
    assert torch.equal(first, trained.predict(question, steering, GIVEN))
    assert trained.training
    assert not first.requires_grad


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda q, s, g: (q[:, :5], s[:, :5], g), "12"),
        (lambda q, s, g: (q, s[:3], g), r"\[3, 12\]"),
        (lambda q, s, g: (q, s, g.float()), "bool"),
        (lambda q, s, g: (q, s, g[:2]), r"\[2\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(question: torch.Tensor, steering: torch.Tensor, change, told: str):
    with pytest.raises(ValueError, match=told):
        SteeredPredictor(CONFIG)(*change(question, steering, GIVEN))
