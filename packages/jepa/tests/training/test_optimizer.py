from __future__ import annotations

import pytest
import torch

from sightline.jepa.config import JEPAConfig
from sightline.jepa.models.model import make_predictor
from sightline.jepa.training.optimizer import make_optimizer

AXES = torch.eye(4)


def groups(**changes: object) -> dict[str, tuple[float, float]]:
    """(weight decay, rate) of every parameter by name."""
    config = JEPAConfig.model_validate(
        {"predictor": {"dimension": 4, "hidden_dimension": 3}, "training": {"weight_decay": 0.25}} | changes
    )
    predictor = make_predictor(config, AXES, AXES)
    optimizer = make_optimizer(config, predictor, list(predictor.parameters()))
    found = {
        each: (group["weight_decay"], group["rate"]) for group in optimizer.param_groups for each in group["params"]
    }
    return {name: found[parameter] for name, parameter in predictor.named_parameters()}


def test_maps_and_numbers_of_a_scorer_learn_at_rates_of_their_own_and_matrices_alone_decay():
    found = groups(scorer={"map_rate": 3.0, "scalar_rate": 50.0, "residual": "plain", "steering_dimension": 2})
    assert {name for name, group in found.items() if group == (0.25, 3.0)} == {
        "question_map.weight",
        "source_map.weight",
        "steering_map.weight",
    }
    assert {name for name, group in found.items() if group == (0.0, 50.0)} == {
        "log_category_weight",
        "log_category_temperature",
        "floor_logit",
    }
    others = {name: group for name, group in found.items() if name.startswith("residual.")}
    assert others["residual.output.weight"] == (0.25, 1.0)
    assert others["residual.output.bias"] == (0.0, 1.0)
    assert len(others) == len(found) - 6


@pytest.mark.parametrize("model", ["plain", "routed"])
def test_other_models_learn_at_one_rate(model: str):
    assert {rate for _, rate in groups(model=model).values()} == {1.0}
