import math

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.growth.action_space import waiting
from sightline.tamiyo_policy.growth.config import GrowthConfig, RewardConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.growth.governor import Panic
from sightline.tamiyo_policy.growth.heuristic import random_legal_actions
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig, LifecycleConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData, Split, digits_data
from sightline.tamiyo_policy.hosts.operations import MLP, NORM, Op
from sightline.tamiyo_policy.hosts.slots import Stage

STEPS = 14
SMALL = GrowthConfig(training=HostTrainingConfig(steps=STEPS, minibatches=2, batch_size=16))
FAMILIES = "ABCEB"


def build(data, num_envs=5, config=SMALL):
    environment = GrowthEnvironment(data, num_envs, config=config)
    environment.reset(range(num_envs), FAMILIES[:num_envs])
    return environment


def act(environment, op, slot=0, **heads):
    """Actions that do the same in every environment."""
    actions = waiting(environment.num_envs, environment.action_space)
    for name, choice in {"op": op, "slot": slot, **heads}.items():
        actions[:, environment.action_space.names.index(name)] = int(choice)
    return actions


def play(environment, steps, seed=0):
    """Random legal actions; the results of all steps."""
    generator = torch.Generator().manual_seed(seed)
    return [
        environment.step(random_legal_actions(environment.observe().masks, environment.action_space, generator))
        for _ in range(steps)
    ]


def hold(environment, blueprint=MLP, slot=0):
    """Bring a seed to HOLDING as fast as the rules permit."""
    environment.step(act(environment, Op.GERMINATE, slot, blueprint=blueprint, tempo=0, alpha_target=2))
    environment.step(act(environment, Op.ADVANCE, slot))
    for _ in range(2):
        environment.step(act(environment, Op.WAIT))
    for _ in range(3):
        step = environment.step(act(environment, Op.ADVANCE, slot))
    assert bool((environment.slots.stage[:, slot] == Stage.HOLDING).all())
    return step


def test_a_seed_goes_from_germination_to_fossil_and_is_measured_on_the_way(small_digits):
    environment = build(small_digits)
    held = hold(environment)
    assert not held.info.contribution[:, 0].isnan().any()
    assert held.observation.blueprint_indices.tolist() == [[MLP, -1, -1]] * 5
    assert held.info.parameters.tolist() == [272.0 * 2] * 5
    step = environment.step(act(environment, Op.FOSSILIZE))
    assert environment.slots.stage[:, 0].tolist() == [Stage.FOSSILIZED] * 5
    assert step.info.effective_op.tolist() == [Op.FOSSILIZE] * 5


def test_a_seed_that_gets_no_gradient_cannot_leave_training(small_digits):
    environment = GrowthEnvironment(small_digits, 2, config=SMALL)
    environment.reset([0, 0], "AD")
    environment.step(act(environment, Op.GERMINATE, 0, blueprint=MLP))
    for _ in range(6):
        environment.step(act(environment, Op.ADVANCE, 0))
    assert environment.slots.stage[:, 0].tolist() == [Stage.BLENDING, Stage.TRAINING]
    assert environment.slots.vanishing[:, 0].tolist() == [False, True]


def test_undiscounted_rewards_sum_to_the_change_of_the_score(small_digits):
    config = SMALL.model_copy(update={"reward": RewardConfig(final_validations=1)})
    environment = build(small_digits, config=config)
    first = environment._score.clone()
    steps = play(environment, STEPS)
    total = torch.stack([step.reward for step in steps]).sum(0) * config.reward.scale
    torch.testing.assert_close(total, steps[-1].info.score - first, atol=1e-3, rtol=0)


def test_the_final_score_is_of_the_mean_of_the_last_validations(small_digits):
    environment = build(small_digits)
    steps = [environment.step(act(environment, Op.WAIT)) for _ in range(STEPS)]
    last = torch.stack([step.info.accuracy for step in steps[-3:]]).mean(0)
    torch.testing.assert_close(steps[-1].info.score, last)


def test_the_last_action_is_rewarded_for_what_it_does(small_digits):
    scores = []
    for op in (Op.WAIT, Op.PRUNE):
        environment = build(small_digits, config=SMALL.model_copy(update={"reward": RewardConfig(final_validations=1)}))
        hold(environment)
        for _ in range(STEPS - 8):
            environment.step(act(environment, Op.WAIT))
        scores.append(environment.step(act(environment, op)).info.parameters.tolist())
    assert scores == [[544.0] * 5, [0.0] * 5]


def test_an_episode_ends_for_good_after_its_last_step_and_then_asks_for_a_reset(small_digits):
    environment = build(small_digits, 1)
    steps = play(environment, STEPS)
    assert [bool(step.terminated) for step in steps] == [False] * (STEPS - 1) + [True]
    assert not any(bool(step.truncated) for step in steps)
    with pytest.raises(RuntimeError, match="call reset"):
        environment.step(act(environment, Op.WAIT))


def test_stepping_before_the_first_reset_is_refused(small_digits):
    environment = GrowthEnvironment(small_digits, 1, config=SMALL)
    with pytest.raises(RuntimeError, match="call reset"):
        environment.step(waiting(1, environment.action_space))


@pytest.mark.parametrize("actions", [torch.zeros(5, 7, dtype=torch.int64), torch.zeros(5, 8), torch.zeros(8).long()])
def test_malformed_actions_are_refused(small_digits, actions):
    with pytest.raises(ValueError, match=r"actions must be int64 \[5, 8\]"):
        build(small_digits).step(actions)


def test_an_impossible_action_is_executed_as_waiting(small_digits):
    environment = build(small_digits)
    step = environment.step(act(environment, Op.FOSSILIZE))
    assert step.info.effective_op.tolist() == [Op.WAIT] * 5
    assert not bool(environment.signals.last_success.any())


def test_equal_seeds_and_actions_give_equal_episodes(small_digits):
    runs = [play(build(small_digits), STEPS) for _ in range(2)]
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one.observation.features, other.observation.features)
        assert torch.equal(one.reward, other.reward)


def test_an_environment_takes_the_same_course_alone_as_in_a_stack(small_digits):
    stack = build(small_digits)
    generator = torch.Generator().manual_seed(2)
    singles = [GrowthEnvironment(small_digits, 1, config=SMALL) for _ in range(5)]
    for index, single in enumerate(singles):
        single.reset([index], FAMILIES[index])
    for _ in range(STEPS):
        actions = random_legal_actions(stack.observe().masks, stack.action_space, generator)
        losses = stack.step(actions).info.loss
        alone = torch.cat([single.step(actions[[index]]).info.loss for index, single in enumerate(singles)])
        torch.testing.assert_close(losses, alone, atol=1e-4, rtol=0)
        stages = torch.cat([single.slots.stage for single in singles])
        assert torch.equal(stack.slots.stage, stages)


@pytest.mark.slow
def test_twelve_environments_take_the_same_course_alone_as_in_a_stack_for_a_whole_episode():
    config = GrowthConfig(lifecycle=LifecycleConfig(auto_forward=frozenset({"G1", "G2", "G3"}), min_prune_age=12))
    data, families = digits_data(), "ABCDEABCDEAB"
    stack = GrowthEnvironment(data, 12, config=config)
    stack.reset(range(12), families)
    singles = [GrowthEnvironment(data, 1, config=config) for _ in range(12)]
    for index, single in enumerate(singles):
        single.reset([index], families[index])
    generator = torch.Generator().manual_seed(5)
    worst = []
    for _ in range(config.training.steps):
        actions = random_legal_actions(stack.observe().masks, stack.action_space, generator)
        losses = stack.step(actions).info.loss
        alone = torch.cat([single.step(actions[[index]]).info.loss for index, single in enumerate(singles)])
        worst.append(float((losses - alone).abs().max()))
    assert max(worst) < 1e-4


def test_a_saved_environment_goes_on_bit_for_bit(small_digits):
    environment = build(small_digits)
    hold(environment)
    other = GrowthEnvironment(small_digits, 5, config=SMALL)
    other.load_state_dict(environment.state_dict())
    assert other.families == environment.families
    for one, two in zip(play(environment, STEPS - 7, seed=1), play(other, STEPS - 7, seed=1), strict=True):
        assert torch.equal(one.observation.features, two.observation.features)
        assert torch.equal(one.reward, two.reward)
    for name, tensor in environment.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_a_saved_environment_of_another_size_is_refused(small_digits):
    with pytest.raises(ValueError, match="differs from this one in"):
        build(small_digits, 2).load_state_dict(build(small_digits, 3).state_dict())


def poison(environment, where):
    environment._training.model.host_parameters[where] = math.nan


@pytest.mark.parametrize("mode", ["score", "shaped"])
def test_a_host_that_is_lost_goes_back_to_its_last_good_state_and_the_action_pays(small_digits, mode):
    environment = build(small_digits, config=SMALL.model_copy(update={"reward_mode": mode}))
    hold(environment)
    poison(environment, 1)
    step = environment.step(act(environment, Op.WAIT))
    assert step.info.panic.tolist() == [Panic.NONE, Panic.NOT_FINITE, *[Panic.NONE] * 3]
    assert step.terminated.tolist() == [False, True, False, False, False]
    assert step.reward[1] == environment.config.governor.penalty
    assert environment.slots.stage[1, 0] == Stage.PRUNED
    assert bool(environment._training.model.host_parameters.isfinite().all())
    assert bool(step.observation.features.isfinite().all())
    assert 0 < float(step.info.loss[1]) < 20
    follow = environment.step(act(environment, Op.WAIT))
    assert follow.info.panic.tolist() == [Panic.NONE] * 5
    assert float(follow.reward.abs().max()) < 10


def test_a_fossil_survives_a_rollback(small_digits):
    environment = build(small_digits, 2)
    hold(environment)
    environment.step(act(environment, Op.FOSSILIZE))
    fossil = environment._training.model.seed_parameters[:, 0].clone()
    poison(environment, 0)
    environment._training.model.seed_parameters[0, 0] = math.nan
    environment.step(act(environment, Op.WAIT))
    restored = environment._training.model.seed_parameters[0, 0]
    assert environment.slots.stage[0, 0] == Stage.FOSSILIZED
    assert bool(restored.isfinite().all())
    assert float((restored - fossil[0]).abs().max()) < 0.2


def test_the_shaped_reward_is_finite_and_differs_from_the_change_of_the_score(small_digits):
    shaped = play(build(small_digits, config=SMALL.model_copy(update={"reward_mode": "shaped"})), STEPS)
    plain = play(build(small_digits), STEPS)
    rewards = torch.stack([step.reward for step in shaped])
    assert bool(rewards.isfinite().all())
    assert float(rewards.abs().max()) < 20
    assert not torch.allclose(rewards, torch.stack([step.reward for step in plain]))


def test_shapley_values_come_at_the_end_and_sum_to_the_gain(small_digits):
    environment = build(small_digits)
    hold(environment)
    steps = [environment.step(act(environment, Op.WAIT)) for _ in range(STEPS - 7)]
    assert bool(steps[-2].info.shapley.isnan().all())
    torch.testing.assert_close(steps[-1].info.shapley.nansum(1), steps[-1].info.gain, atol=1e-3, rtol=0)


def test_the_test_part_never_reaches_an_episode(small_digits):
    spoilt = Split(np.full_like(small_digits.test.inputs, np.nan), small_digits.test.labels)
    other = ClassificationData(small_digits.train, small_digits.validation, spoilt, small_digits.num_classes)
    for one, two in zip(play(build(small_digits), STEPS), play(build(other), STEPS), strict=True):
        assert torch.equal(one.observation.features, two.observation.features)
        assert torch.equal(one.reward, two.reward)


def test_every_observation_keeps_to_its_layout(small_digits):
    environment = build(small_digits)
    low, high = environment.layout.bounds()
    for step in play(environment, STEPS, seed=3):
        features = step.observation.features
        assert features.shape == (5, environment.layout.dimension)
        assert bool(((features >= low) & (features <= high)).all())


def test_gates_and_layouts_of_the_config_are_in_force(small_digits):
    lifecycle = LifecycleConfig(auto_forward=frozenset({"G1", "G2", "G3"}))
    environment = build(small_digits, 2, SMALL.model_copy(update={"lifecycle": lifecycle, "layout": "v114"}))
    environment.step(act(environment, Op.GERMINATE, 1, blueprint=NORM))
    for _ in range(10):
        step = environment.step(act(environment, Op.WAIT))
    assert environment.slots.stage[:, 1].tolist() == [Stage.HOLDING] * 2
    assert step.observation.features.shape == (2, 114)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_environment_on_a_cuda_device_keeps_close_to_one_on_the_cpu(small_digits):
    other = GrowthEnvironment(small_digits, 5, config=SMALL, device="cuda")
    other.reset(range(5), FAMILIES)
    for one, two in zip(play(build(small_digits), 4), play(other, 4), strict=True):
        torch.testing.assert_close(one.info.loss, two.info.loss, atol=1e-2, rtol=0)
