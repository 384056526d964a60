"""One test for each known way in which a recurrent factored policy went wrong, as far as the network is concerned."""

import pytest
import torch

from sightline.tamiyo_policy.compat.network import FactoredRecurrentActorCritic
from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.policy.config import NetworkConfig
from sightline.tamiyo_policy.policy.contexts import ContextTable
from sightline.tamiyo_policy.policy.distribution import FactoredDistribution


def make_network(**options):
    """A small network with outputs large enough to tell operations apart."""
    generator = torch.Generator().manual_seed(0)
    network = FactoredRecurrentActorCritic(12, 3, NetworkConfig(hidden_dim=32, **options), generator=generator)
    with torch.no_grad():
        network.value_output.weight.mul_(20)
        network.heads["op"].get_parameter("2.weight").mul_(50)
    return network


def random_inputs(batch, steps):
    generator = torch.Generator().manual_seed(1)
    state = torch.randn(batch, steps, 12, generator=generator)
    return state, torch.randint(-1, 13, (batch, steps, 3), generator=generator)


def test_pitfall_05_the_value_belongs_to_the_operation_that_is_stored():
    network = make_network(value_mode="op_q")
    state, indices = random_inputs(1000, 1)
    generator = torch.Generator().manual_seed(2)
    output = network.get_action(state, indices, generator=generator)
    assert len(output.sampled_op.unique()) == len(Op)
    stored = network.evaluate_actions(state, indices, output.actions.unsqueeze(1)).value.squeeze(1)
    torch.testing.assert_close(output.value, stored, atol=1e-5, rtol=1e-5)
    forward = network(state, indices, generator=generator)
    of_sample = network.get_value(state, indices, op=forward.sampled_op)
    torch.testing.assert_close(forward.value, of_sample, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("mode", "biased"), [("state", False), ("op_expected_q", False), ("op_q", True)])
def test_pitfall_06_only_the_operation_conditioned_baseline_biases_the_gradient(mode, biased):
    network = make_network(value_mode=mode)
    state, indices = random_inputs(1, 1)
    expectation = torch.zeros(6)
    for op in Op:  # sum over o of pi(o) grad log pi(o) b(o), which a baseline must leave at zero
        actions = torch.zeros(1, 1, 8, dtype=torch.int64)
        actions[..., 7] = op
        output = network.evaluate_actions(state, indices, actions)
        log_prob = output.log_probs[0, 0, 7]
        (gradient,) = torch.autograd.grad(log_prob, network.heads["op"].get_parameter("2.bias"))
        expectation += log_prob.exp().detach() * output.value.item() * gradient
    assert (expectation.abs().max().item() > 1e-3) is biased
    if not biased:
        assert expectation.abs().max().item() < 1e-6


def test_pitfall_09_heads_that_do_not_matter_have_log_probability_exactly_zero():
    network = make_network()
    state, indices = random_inputs(6, 1)
    actions = torch.zeros(6, 1, 8, dtype=torch.int64)
    actions[:, 0, 7] = torch.arange(6)
    space = network.action_space
    masks = {name: torch.ones(6, 1, *shape, dtype=torch.bool) for name, shape in space.mask_shapes.items()}
    masks["blueprint"][..., 0] = False  # the placeholder itself is illegal
    actions[1, 0, 1] = 3
    log_probs = network.evaluate_actions(state, indices, actions, masks=masks).log_probs[:, 0]
    assert (log_probs[~space.relevance] == 0).all()
    assert (log_probs[space.relevance] < 0).all()


@pytest.mark.parametrize("head", ["op", "blueprint", "slot_by_op"])
def test_pitfall_09_an_empty_mask_raises_in_rollout_and_update(head):
    network = make_network()
    state, indices = random_inputs(2, 1)
    shapes = network.action_space.mask_shapes
    masks = {name: torch.ones(2, 1, *shape, dtype=torch.bool) for name, shape in shapes.items()}
    masks[head][1] = False
    with pytest.raises(ValueError, match="no legal choice"):
        network.get_action(state, indices, masks=masks)
    with pytest.raises(ValueError, match="no legal choice"):
        network.evaluate_actions(state, indices, torch.zeros(2, 1, 8, dtype=torch.int64), masks=masks)


@pytest.mark.parametrize("first_touch", ["get_action", "evaluate_actions", "get_value"])
def test_pitfall_11_a_look_without_gradients_under_autocast_takes_no_gradient_away(first_touch):
    network = make_network()
    state, indices = random_inputs(4, 1)
    actions = torch.ones(4, 1, 8, dtype=torch.int64)
    remembering = []
    network.entrance.register_forward_hook(lambda *_: remembering.append(torch.is_autocast_cache_enabled()))
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            if first_touch == "evaluate_actions":
                network.evaluate_actions(state, indices, actions)
            else:
                getattr(network, first_touch)(state, indices)
        output = network.evaluate_actions(state, indices, actions)
    assert remembering == [False, True]  # a version of torch that keeps graphless copies has none to keep
    (output.log_probs.sum() + output.entropy.sum() + output.value.sum() + output.slot_predictions.sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for name, head in network.heads.items():
        assert any((parameter.grad != 0).any() for parameter in head.parameters()), name


def test_pitfall_12_the_first_ratio_of_an_update_is_one():
    network = make_network()
    state, indices = random_inputs(5, 20)
    starts = torch.rand(5, 20, generator=torch.Generator().manual_seed(3)) < 0.2
    generator, hidden, stored, actions = torch.Generator().manual_seed(4), None, [], []
    for step in range(20):
        now = slice(step, step + 1)
        output = network.get_action(
            state[:, now], indices[:, now], hidden=hidden, episode_starts=starts[:, now], generator=generator
        )
        hidden = output.hidden
        stored.append(output.log_probs)
        actions.append(output.actions)
    evaluated = network.evaluate_actions(state, indices, torch.stack(actions, 1), episode_starts=starts)
    ratio = (evaluated.log_probs - torch.stack(stored, 1)).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)


def test_pitfall_04_what_happened_in_one_episode_does_not_reach_the_next():
    network = make_network()
    state, indices = random_inputs(2, 8)
    starts = torch.zeros(2, 8, dtype=torch.bool)
    starts[:, 5] = True
    changed = state.clone()
    changed[:, :5] += 3.0
    actions = torch.ones(2, 8, 8, dtype=torch.int64)
    before = network.evaluate_actions(state, indices, actions, episode_starts=starts)
    after = network.evaluate_actions(changed, indices, actions, episode_starts=starts)
    assert torch.equal(before.log_probs[:, 5:], after.log_probs[:, 5:])
    assert torch.equal(before.value[:, 5:], after.value[:, 5:])
    assert not torch.equal(before.value[:, :5], after.value[:, :5])


def test_pitfall_08_the_floor_gives_every_legal_operation_a_gradient_and_keeps_their_order():
    table = ContextTable(growth_action_space(3))
    logits = {name: torch.zeros(size) for name, size in zip(table.space.names, table.space.sizes, strict=True)}
    logits["op"] = torch.tensor([2.0, 1.0, 0.0, -1.0, -1.0, -1.0], requires_grad=True)
    distribution = FactoredDistribution(table, logits, epsilon=0.15 * 6)
    probabilities = distribution.op_probabilities
    assert (probabilities >= 0.15).all()
    assert probabilities[0] > probabilities[1] > probabilities[2] > probabilities[3]
    for op in Op:
        (gradient,) = torch.autograd.grad(probabilities[op].log(), logits["op"], retain_graph=True)
        assert gradient.abs().max() > 1e-3
