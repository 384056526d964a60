from __future__ import annotations

import numpy as np
import torch

from sightline.tamiyo_policy.growth.action_space import waiting
from sightline.tamiyo_policy.growth.budget import Budget
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.growth.heuristic import random_legal_actions
from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.instances import InstanceDistribution
from sightline.tamiyo_policy.hosts.operations import ATTENTION, DEPTHWISE, LORA, MLP, MLP_SMALL, NORM, Op

ONE_MIXER = np.log10(300 / 466)
CONFIG = GrowthConfig(
    training=HostTrainingConfig(
        steps=20, minibatches=1, batch_size=8, instances=InstanceDistribution(log_budget=(ONE_MIXER, ONE_MIXER))
    )
)


def test_what_is_left_pays_for_some_modules_and_not_for_others() -> None:
    budget = Budget({index: module.parameter_count for index, module in token_blueprints().items()}, 2)
    budget.start(np.array([300.0, np.inf]))
    budget.buy(torch.tensor([[True, False], [True, True]]), torch.tensor([[DEPTHWISE, -1], [MLP, MLP]]))
    assert budget.spent.tolist() == [256.0, 1088.0]
    names = {index for index, legal in enumerate(budget.affordable()[0].tolist()) if legal}
    assert names == {NORM, LORA}
    assert int(budget.affordable()[1].sum()) == 6


def act(environment: GrowthEnvironment, **heads: int) -> torch.Tensor:
    actions = waiting(environment.num_envs, environment.action_space)
    for name, choice in heads.items():
        actions[:, environment.action_space.names.index(name)] = int(choice)
    return actions


def test_a_module_that_is_too_dear_is_masked_and_executed_as_waiting(small_digits: ClassificationData) -> None:
    environment = GrowthEnvironment(small_digits, 2, config=CONFIG)
    masks = environment.reset([0, 1], "AA").masks
    assert legal(masks) == {NORM, LORA, DEPTHWISE, ATTENTION, MLP_SMALL}
    step = environment.step(act(environment, op=Op.GERMINATE, slot=2, blueprint=MLP))
    assert step.info.effective_op.tolist() == [Op.WAIT] * 2
    step = environment.step(act(environment, op=Op.GERMINATE, slot=2, blueprint=DEPTHWISE))
    assert step.info.effective_op.tolist() == [Op.GERMINATE] * 2
    assert legal(step.observation.masks) == {NORM, LORA}


def legal(masks: dict[str, torch.Tensor]) -> set[int]:
    return set(masks["blueprint"][0].nonzero()[:, 0].tolist())


def test_a_prune_gives_nothing_back_and_random_play_never_overspends(small_digits: ClassificationData) -> None:
    environment = GrowthEnvironment(small_digits, 8, config=CONFIG)
    environment.reset(range(8), "AAAAAAAA")
    generator, spent = torch.Generator().manual_seed(0), torch.zeros(8)
    for _ in range(20):
        environment.step(random_legal_actions(environment.observe().masks, environment.action_space, generator))
        assert bool((environment._budget.spent >= spent).all())
        assert bool((environment._budget.spent <= 300).all())
        spent = environment._budget.spent
    assert bool((spent > 0).any())


def test_what_was_spent_is_kept_by_a_saved_environment(small_digits: ClassificationData) -> None:
    environment = GrowthEnvironment(small_digits, 1, config=CONFIG)
    environment.reset([0], "A")
    environment.step(act(environment, op=Op.GERMINATE, slot=0, blueprint=DEPTHWISE))
    other = GrowthEnvironment(small_digits, 1, config=CONFIG)
    other.load_state_dict(environment.state_dict())
    assert legal(other.observe().masks) == legal(environment.observe().masks) == {NORM, LORA}
