from __future__ import annotations

import logging
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.policy.config import NetworkConfig
from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import InputShape
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer, RolloutStep
from sightline.tamiyo_policy.ppo.config import PPOConfig
from sightline.tamiyo_policy.ppo.ppo import PPO, StaleRolloutError

ENVIRONMENTS, STEPS, SLOTS, FEATURES = 4, 6, 2, 5
SPACE = growth_action_space(SLOTS)


@pytest.fixture
def network() -> RecurrentActorCritic:
    return RecurrentActorCritic(
        InputShape(FEATURES, SLOTS, 13),
        SPACE,
        NetworkConfig(hidden_dim=16),
        generator=torch.Generator().manual_seed(0),
    )


def all_legal(ops: tuple[Op, ...] = tuple(Op)) -> dict[str, Tensor]:
    masks = {name: torch.ones(ENVIRONMENTS, *shape, dtype=torch.bool) for name, shape in SPACE.mask_shapes.items()}
    masks["op"] = torch.zeros_like(masks["op"])
    masks["op"][:, list(ops)] = True
    return masks


def rollout(
    network: RecurrentActorCritic,
    *,
    ops: tuple[Op, ...] = tuple(Op),
    slot_targets_known: tuple[bool, bool] | None = None,
) -> RolloutBuffer:
    """One rollout of random observations; the reward of a step is its operation's number."""
    generator = torch.Generator().manual_seed(1)
    buffer = RolloutBuffer(ENVIRONMENTS, STEPS, FEATURES, SPACE)
    hidden = network.initial_hidden(ENVIRONMENTS)
    buffer.start(hidden)
    never = torch.zeros(ENVIRONMENTS, dtype=torch.bool)
    for number in range(STEPS):
        states = torch.randn(ENVIRONMENTS, FEATURES, generator=generator)
        indices = torch.randint(-1, 13, (ENVIRONMENTS, SLOTS), generator=generator)
        masks = all_legal(ops)
        output = network.get_action(states.unsqueeze(1), indices, masks=masks, hidden=hidden, generator=generator)
        hidden = output.hidden
        known = None if slot_targets_known is None else torch.tensor([slot_targets_known]).repeat(ENVIRONMENTS, 1)
        assert output.sampled_op is not None
        buffer.add(
            RolloutStep(
                states=states,
                actions=output.actions,
                log_probs=output.log_probs,
                rewards=output.sampled_op.float(),
                terminated=never,
                truncated=never,
                episode_starts=torch.full((ENVIRONMENTS,), number == 0),
                masks=masks,
                categories=indices,
                slot_targets=None if known is None else torch.full((ENVIRONMENTS, SLOTS), 3.0),
                slot_targets_known=known,
            )
        )
    return buffer


def copies(network: RecurrentActorCritic) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def moved(network: RecurrentActorCritic, before: dict[str, Tensor]) -> set[str]:
    return {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}


def test_an_update_moves_every_weight_that_matters(network: RecurrentActorCritic) -> None:
    before = copies(network)
    metrics = PPO(network, PPOConfig(), seed=0).update(rollout(network))
    unmoved = set(before) - moved(network, before)
    assert all(name.startswith("slot_predictor") for name in unmoved), unmoved
    assert metrics["gradient_steps"] == 16
    assert all(value == value for value in metrics.values())


def test_bfloat16_gradient_steps_still_move_every_head(network: RecurrentActorCritic) -> None:
    before = copies(network)
    metrics = PPO(network, PPOConfig(autocast=True), seed=0).update(rollout(network))
    unmoved = set(before) - moved(network, before)
    assert all(name.startswith("slot_predictor") for name in unmoved), unmoved
    assert metrics["first_divergence"] == pytest.approx(0.0, abs=1e-6)
    assert all(bool(weight.isfinite().all()) for weight in network.parameters())


def test_better_actions_become_more_probable(network: RecurrentActorCritic) -> None:
    ppo = PPO(network, PPOConfig(), seed=0)
    for _ in range(15):
        ppo.update(rollout(network))
    # Rewards are the operations' numbers, 2.5 on average at random.
    assert float(rollout(network).sequences().rewards.mean()) > 3.5


def test_log_probabilities_of_other_parameters_stop_the_update_before_it_begins(
    network: RecurrentActorCritic,
) -> None:
    buffer = rollout(network)
    with torch.no_grad():
        network.heads["op"][-1].bias[0] += 0.01  # ty: ignore[not-subscriptable]  # a Sequential ending in a Linear
    before = copies(network)
    with pytest.raises(StaleRolloutError, match="differ by"):
        PPO(network, PPOConfig(), seed=0).update(buffer)
    assert not moved(network, before)


def test_a_head_that_is_not_finite_is_named_and_not_learned_from(
    network: RecurrentActorCritic, caplog: pytest.LogCaptureFixture
) -> None:
    buffer = rollout(network)
    buffer.sequences().log_probs[..., SPACE.names.index("tempo")] = float("nan")
    before = copies(network)
    ppo = PPO(network, PPOConfig(), seed=0)
    with caplog.at_level(logging.WARNING):
        metrics = ppo.update(buffer)
    assert "head 'tempo'" in caplog.text
    assert "head 'op'" not in caplog.text
    assert (metrics["gradient_steps"], metrics["skipped_steps"], ppo.train_steps) == (0, 16, 0)
    # PopArt may have rewritten the critic's last layer, which leaves its values alone.
    assert all(name.startswith("critic") for name in moved(network, before))


def test_one_bad_environment_costs_only_its_minibatches(network: RecurrentActorCritic) -> None:
    buffer = rollout(network)
    buffer.sequences().log_probs[2, 3] = float("nan")
    ppo = PPO(network, PPOConfig(epochs=3), seed=0)
    metrics = ppo.update(buffer)
    assert (metrics["gradient_steps"], metrics["skipped_steps"], ppo.train_steps) == (9, 3, 1)


def test_rewards_that_are_not_finite_spoil_neither_weights_nor_scales(network: RecurrentActorCritic) -> None:
    buffer = rollout(network)
    buffer.sequences().rewards[0, 0] = float("inf")
    before = copies(network)
    ppo = PPO(network, PPOConfig(), seed=0)
    assert ppo.update(buffer)["gradient_steps"] == 0
    assert not moved(network, before)
    assert int(ppo.value_normaliser.moments.updates) == 0


def test_a_critic_that_is_not_finite_spoils_neither_weights_nor_scales(
    network: RecurrentActorCritic, caplog: pytest.LogCaptureFixture
) -> None:
    buffer = rollout(network)
    with torch.no_grad():
        network.value_output.bias.fill_(float("nan"))
    before = copies(network)
    ppo = PPO(network, PPOConfig(), seed=0)
    with caplog.at_level(logging.WARNING):
        assert ppo.update(buffer)["gradient_steps"] == 0
    assert "values (of this rollout, environment 0 at step 0" in caplog.text
    assert moved(network, before) == {"critic.8.bias"}  # a NaN is never equal
    assert int(ppo.value_normaliser.moments.updates) == 0


def test_a_policy_that_moved_too_far_takes_no_further_step(network: RecurrentActorCritic) -> None:
    ppo = PPO(network, PPOConfig(target_divergence=1e-7, minibatches=1, epochs=50), seed=0)
    metrics = ppo.update(rollout(network))
    assert metrics["stopped"] == 1
    assert 1 <= metrics["gradient_steps"] < 50


def test_no_minibatch_is_learned_from_after_the_one_that_had_moved_too_far(network: RecurrentActorCritic) -> None:
    config = PPOConfig(target_divergence=1e-7, minibatches=ENVIRONMENTS, epochs=3)
    metrics = PPO(network, config, seed=0).update(rollout(network))
    assert metrics["stopped"] == 1
    assert metrics["gradient_steps"] < ENVIRONMENTS


def test_losses_of_minibatches_are_on_average_that_of_the_rollout(network: RecurrentActorCritic) -> None:
    found = []
    for minibatches in (1, ENVIRONMENTS):
        config = PPOConfig(minibatches=minibatches, epochs=1, learning_rate=1e-12)
        untouched = deepcopy(network)
        found.append(PPO(untouched, config, seed=0).update(rollout(untouched)))
    assert found[0]["value_loss"] == pytest.approx(found[1]["value_loss"], rel=1e-4)
    assert found[0]["policy_loss"] == pytest.approx(found[1]["policy_loss"], rel=1e-4, abs=1e-6)
    assert found[0]["value_loss"] > 1e-3


def test_steps_without_a_choice_teach_the_critic_only(network: RecurrentActorCritic) -> None:
    buffer = rollout(network, ops=(Op.WAIT,))
    before = copies(network)
    metrics = PPO(network, PPOConfig(entropy_coefficient=0.1), seed=0).update(buffer)
    found = moved(network, before)
    assert metrics["forced_share"] == 1
    assert any(name.startswith("critic") for name in found)
    assert not any(name.startswith("heads") for name in found)


def test_heads_that_no_executed_operation_used_get_no_gradient(network: RecurrentActorCritic) -> None:
    buffer = rollout(network, ops=(Op.WAIT, Op.ADVANCE))
    before = copies(network)
    PPO(network, PPOConfig(entropy_coefficient=0.0), seed=0).update(buffer)
    heads = {name.split(".")[1] for name in moved(network, before) if name.startswith("heads")}
    assert heads == {"op", "slot"}


def test_only_what_was_measured_is_a_target_of_the_predictor(network: RecurrentActorCritic) -> None:
    buffer = rollout(network, slot_targets_known=(True, False))
    before = copies(network)
    PPO(network, PPOConfig(), seed=0).update(buffer)
    last = [name for name in before if name.startswith("slot_predictor")][-1]
    bias = dict(network.named_parameters())[last].detach()
    assert float(bias[0]) != float(before[last][0])
    assert float(bias[1]) == float(before[last][1])


def test_the_weight_of_the_predictor_reaches_the_update(network: RecurrentActorCritic) -> None:
    ppo = PPO(network, PPOConfig(auxiliary_coefficient=0.0), seed=0)
    before = copies(network)
    metrics = ppo.update(rollout(network, slot_targets_known=(True, True)))
    assert metrics["auxiliary_loss"] > 0
    assert not any(name.startswith("slot_predictor") for name in moved(network, before))


def test_there_are_at_most_as_many_minibatches_as_environments(network: RecurrentActorCritic) -> None:
    metrics = PPO(network, PPOConfig(minibatches=5, epochs=2), seed=0).update(rollout(network))
    assert metrics["gradient_steps"] == 2 * ENVIRONMENTS


def test_the_critic_speaks_the_unit_of_rewards_through_its_normaliser(network: RecurrentActorCritic) -> None:
    buffer = rollout(network)
    buffer.sequences().rewards.add_(1000.0)
    ppo = PPO(network, PPOConfig(gamma=0.0, learning_rate=1e-2), seed=0)
    for _ in range(10):
        ppo.update(buffer)
        rows = buffer.sequences()
        output = network.evaluate_actions(
            rows.states, rows.categories, rows.actions, masks=rows.masks, hidden=rows.initial_hidden
        )
        rows.log_probs.copy_(output.log_probs.detach())
    values = ppo.value_normaliser.denormalise(output.value.detach())
    assert float(values.mean()) == pytest.approx(float(buffer.sequences().rewards.mean()), abs=1.0)


@pytest.mark.gpu
def test_an_update_on_a_cuda_device_equals_that_on_the_processor(network: RecurrentActorCritic) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here = rollout(network)
    rows = here.sequences()
    network.to("cuda")
    there = RolloutBuffer(ENVIRONMENTS, STEPS, FEATURES, SPACE, device="cuda")
    there.start((rows.initial_hidden[0].cuda(), rows.initial_hidden[1].cuda()))
    assert rows.masks is not None
    assert rows.categories is not None
    for at in range(STEPS):
        there.add(
            RolloutStep(
                states=rows.states[:, at].cuda(),
                actions=rows.actions[:, at].cuda(),
                log_probs=rows.log_probs[:, at].cuda(),
                rewards=rows.rewards[:, at].cuda(),
                terminated=rows.terminated[:, at].cuda(),
                truncated=rows.truncated[:, at].cuda(),
                episode_starts=rows.episode_starts[:, at].cuda(),
                masks={name: mask[:, at].cuda() for name, mask in rows.masks.items()},
                categories=rows.categories[:, at].cuda(),
            )
        )
    config = PPOConfig(epochs=1, minibatches=1)
    on_device = PPO(network, config, seed=0).update(there)
    assert on_device["log_prob_difference"] < 1e-4
    assert on_device["gradient_steps"] == 1
