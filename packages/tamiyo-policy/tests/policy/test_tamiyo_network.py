from typing import Any

import gymnasium
import pytest
import torch

from sightline.tamiyo_policy.compat.network import FactoredRecurrentActorCritic
from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.config import NetworkConfig
from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import InputShape
from sightline.tamiyo_policy.spaces.actions import ActionCodec

MODES = ("state", "op_q", "op_expected_q")


def make_network(*, seed=0, slot_feature_dim=0, **options):
    """A small growth network whose last layers are large enough that no two outputs coincide."""
    arguments: dict[str, Any] = {"hidden_dim": 32, **options}
    network = FactoredRecurrentActorCritic(
        114,
        3,
        NetworkConfig(**arguments),
        slot_feature_dim=slot_feature_dim,
        generator=torch.Generator().manual_seed(seed),
    )
    with torch.no_grad():
        for module in (*network.heads.values(), network.critic):
            last = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]
            last.weight.mul_(30)
    return network


def random_inputs(batch, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(batch, steps, 114, generator=generator)
    return state, torch.randint(-1, 13, (batch, steps, 3), generator=generator)


def random_masks(batch, steps, seed=0, space=None):
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, shape in (space or growth_action_space(3)).mask_shapes.items():
        masks[name] = torch.rand(batch, steps, *shape, generator=generator) < 0.6
        masks[name][..., 0] |= ~masks[name].any(-1)
    return masks


def random_starts(batch, steps, seed=0):
    return torch.rand(batch, steps, generator=torch.Generator().manual_seed(seed)) < 0.3


def roll(network, state, indices, masks, starts, generator):
    """Single steps, as a rollout makes them."""
    hidden, outputs = None, []
    for step in range(state.shape[1]):
        output = network.get_action(
            state[:, step : step + 1],
            indices[:, step],
            masks={name: mask[:, step] for name, mask in masks.items()},
            hidden=hidden,
            episode_starts=starts[:, step : step + 1],
            generator=generator,
        )
        hidden = output.hidden
        outputs.append(output)
    return outputs, hidden


def test_op_conditioned_value():
    network = make_network(value_mode="op_q")
    state, indices = random_inputs(2, 5)
    output = network(state, indices)
    assert output.sampled_op is not None
    assert output.value.shape == (2, 5)
    torch.testing.assert_close(output.value, network.get_value(state, indices, op=output.sampled_op))
    other = network.get_value(state, indices, op=(output.sampled_op + 1) % 6)
    assert not torch.isclose(output.value, other).any()


@pytest.mark.parametrize("mode", MODES)
def test_stored_op_value_consistency(mode):
    network = make_network(value_mode=mode)
    state, indices = random_inputs(2, 5)
    forward = network(state, indices)
    actions = dict.fromkeys(network.action_space.names, torch.zeros(2, 5, dtype=torch.int64))
    evaluated = network.evaluate_actions(state, indices, {**actions, "op": forward.sampled_op})
    assert torch.allclose(forward.value, evaluated.value, atol=1e-5)


def test_blueprint_embedding_integration():
    network = make_network()
    state, _ = random_inputs(2, 1)
    active = network(state, torch.tensor([[0, 2, 5], [1, 3, 7]]))
    inactive = network(state, torch.tensor([[-1, -1, -1], [0, -1, 2]]))
    assert not torch.allclose(active.value, inactive.value)


def test_forward_pass():
    network = make_network()
    state, indices = random_inputs(2, 5)
    output = network(state, indices)
    sizes = dict(zip(network.action_space.names, network.action_space.sizes, strict=True))
    assert {name: tuple(logits.shape) for name, logits in output.logits.items()} == {
        name: (2, 5, size) for name, size in sizes.items()
    }
    assert output.op_logits is output.logits["op"]
    assert output.lstm_out.shape == (2, 5, 32)
    assert [tuple(part.shape) for part in output.hidden] == [(1, 2, 32), (1, 2, 32)]


def test_hidden_state_propagation():
    network = make_network()
    state, indices = random_inputs(2, 5)
    whole = network(state, indices)
    first = network(state[:, :2], indices[:, :2])
    second = network(state[:, 2:], indices[:, 2:], first.hidden)
    torch.testing.assert_close(second.value, whole.value[:, 2:], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(network(state[:, 2:], indices[:, 2:]).value, second.value)


def test_action_masking():
    network = make_network()
    state, indices = random_inputs(64, 4)
    masks = random_masks(64, 4)
    output = network(state, indices, masks=masks, generator=torch.Generator().manual_seed(0))
    assert masks["op"].gather(-1, output.sampled_op.unsqueeze(-1)).all()


@pytest.mark.parametrize("conditioned", [False, True])
def test_get_action(conditioned):
    network = make_network(condition_sub_heads=conditioned)
    state, indices = random_inputs(64, 1)
    masks = {name: mask[:, 0] for name, mask in random_masks(64, 1).items()}
    output = network.get_action(state, indices[:, 0], masks=masks, generator=torch.Generator().manual_seed(1))
    assert output.actions.shape == output.log_probs.shape == output.entropies.shape == (64, 8)
    assert output.value.shape == (64,)
    assert output.op_logits.shape == (64, 6)
    assert torch.equal(output.sampled_op, output.actions[:, 7])
    for row, action in enumerate(output.actions.tolist()):
        op = action[7]
        for head, name in enumerate(network.action_space.names):
            if network.action_space.relevance[op, head]:
                legal = masks["slot_by_op"][row, op] if name == "slot" else masks[name][row]
                assert legal[action[head]]
            else:
                assert action[head] == network.action_space.placeholder[head]
                assert output.log_probs[row, head] == 0


@pytest.mark.parametrize("mode", MODES)
def test_an_action_without_its_value_is_the_same_action(mode):
    network = make_network(value_mode=mode)
    state, indices = random_inputs(5, 1)
    asked, not_asked = (
        network.get_action(state, indices, generator=torch.Generator().manual_seed(2), with_value=with_value)
        for with_value in (True, False)
    )
    assert torch.equal(asked.actions, not_asked.actions)
    assert torch.equal(asked.log_probs, not_asked.log_probs)
    assert asked.value.isfinite().all()
    assert not_asked.value.shape == (5,)
    assert not_asked.value.isnan().all()


def test_evaluate_actions():
    network = make_network()
    state, indices = random_inputs(2, 5)
    actions = network.action_space.by_name(torch.zeros(2, 5, 8, dtype=torch.int64))
    output = network.evaluate_actions(state, indices, actions)
    assert output.log_probs.shape == output.entropy_terms.shape == output.head_entropies.shape == (2, 5, 8)
    assert output.value.shape == output.entropy.shape == (2, 5)
    assert output.slot_predictions.shape == (2, 5, 3)
    torch.testing.assert_close(output.entropy_terms.sum(-1), output.entropy)
    assert ((output.head_entropies >= 0) & (output.head_entropies <= 1 + 1e-5)).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize(("recurrent", "entrance"), [(False, True), (True, True), (True, False)])
def test_a_rollout_and_its_evaluation_agree(mode, conditioned, recurrent, entrance):
    trunk = {"recurrent": recurrent, "entrance": entrance}
    network = make_network(value_mode=mode, condition_sub_heads=conditioned, slot_feature_dim=30, epsilon=0.1, **trunk)
    state, indices = random_inputs(6, 12)
    masks, starts = random_masks(6, 12), random_starts(6, 12)
    steps, hidden = roll(network, state, indices, masks, starts, torch.Generator().manual_seed(3))
    actions = torch.stack([step.actions for step in steps], 1)
    assert set(actions[..., 7].flatten().tolist()) == set(Op)
    evaluated = network.evaluate_actions(state, indices, actions, masks=masks, episode_starts=starts)
    for name in ("log_probs", "value"):
        stored = torch.stack([getattr(step, name) for step in steps], 1)
        torch.testing.assert_close(getattr(evaluated, name), stored, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(evaluated.hidden, hidden, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("entrance", [False, True])
def test_the_gradient_reaches_every_part(mode, conditioned, entrance):
    network = make_network(value_mode=mode, condition_sub_heads=conditioned, entrance=entrance)
    state, indices = random_inputs(16, 6)
    actions = network(state, indices).sampled_op
    columns = torch.zeros(16, 6, 8, dtype=torch.int64)
    columns[..., 7] = actions
    output = network.evaluate_actions(state, indices, columns)
    loss = output.log_probs.sum() + output.entropy.sum() + output.value.sum() + output.slot_predictions.sum()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_the_loss_of_slot_predictions_moves_only_its_predictor():
    network = make_network()
    state, indices = random_inputs(2, 3)
    output = network.evaluate_actions(state, indices, torch.zeros(2, 3, 8, dtype=torch.int64))
    output.slot_predictions.sum().backward()
    moved = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert moved == {"slot_predictor"}


@pytest.mark.parametrize("index", [-2, 13, 100])
def test_blueprint_indices_out_of_range_are_refused(index):
    network = make_network()
    state, indices = random_inputs(2, 3)
    indices[1, 2, 0] = index
    with pytest.raises(ValueError, match=f"found {index}"):
        network(state, indices)


def test_an_empty_slot_has_a_row_of_its_own_that_learns():
    network = make_network()
    state, _ = random_inputs(1, 1)
    empty = network(state, torch.tensor([[-1, -1, -1]]))
    noop = network(state, torch.tensor([[0, 0, 0]]))
    assert not torch.allclose(empty.lstm_out, noop.lstm_out)
    empty.value.sum().backward()
    rows = network.category_embedding.weight.grad.abs().sum(-1)
    assert rows.nonzero().flatten().tolist() == [13]


def test_missing_and_superfluous_blueprint_indices_are_refused():
    state, indices = random_inputs(2, 3)
    with pytest.raises(ValueError, match="-1 stands for an empty slot"):
        make_network()(state)
    space = FactoredActionSpace.independent(("action",), (4,))
    plain = RecurrentActorCritic(InputShape(114), space, NetworkConfig())
    with pytest.raises(ValueError, match="no slots"):
        plain(state, indices)


def test_several_steps_at_once_are_no_action():
    state, indices = random_inputs(2, 3)
    with pytest.raises(ValueError, match="one step"):
        make_network().get_action(state, indices)


def test_wrong_shapes_are_named():
    network = make_network()
    state, indices = random_inputs(2, 3)
    actions = torch.zeros(2, 3, 8, dtype=torch.int64)
    with pytest.raises(ValueError, match="state"):
        network(state[..., 1:], indices)
    with pytest.raises(ValueError, match="categories"):
        network(state, indices[..., 1:])
    with pytest.raises(ValueError, match="actions"):
        network.evaluate_actions(state, indices, actions[..., 1:])
    with pytest.raises(ValueError, match="episode_starts"):
        network.evaluate_actions(state, indices, actions, episode_starts=torch.zeros(2, 2, dtype=torch.bool))


def test_a_deterministic_action_is_the_same_every_time():
    network = make_network()
    state, indices = random_inputs(8, 1)
    first = network.get_action(state, indices, deterministic=True)
    second = network.get_action(state, indices, deterministic=True)
    assert torch.equal(first.actions, second.actions)
    assert torch.equal(first.sampled_op, first.op_logits.argmax(-1))


def test_the_same_generator_gives_the_same_weights_and_actions():
    state, indices = random_inputs(8, 1)
    first, second = (
        make_network(seed=4).get_action(state, indices, generator=torch.Generator().manual_seed(9)) for _ in range(2)
    )
    assert torch.equal(first.actions, second.actions)
    assert torch.equal(first.log_probs, second.log_probs)


def test_the_expected_q_is_the_mean_over_operations():
    network = make_network(value_mode="op_expected_q")
    state, indices = random_inputs(3, 2)
    probabilities = network(state, indices).op_logits.softmax(-1)
    every = torch.stack([network.get_value(state, indices, op=torch.full((3, 2), op)) for op in range(6)], -1)
    assert every.std(-1).min() > 1e-3
    torch.testing.assert_close(network.get_value(state, indices), (probabilities * every).sum(-1))


def test_conditioned_heads_see_operation_slot_and_its_features():
    network = make_network(condition_sub_heads=True, slot_feature_dim=30)
    state, indices = random_inputs(1, 1)
    blueprint = network(state, indices).blueprint_logits[0, 0]
    assert blueprint.shape == (3, 13)
    assert not torch.allclose(blueprint[0], blueprint[1], atol=1e-3)
    speeds = network(state, indices).alpha_speed_logits[0, 0]
    assert speeds.shape == (6, 4)
    assert not torch.allclose(speeds[0], speeds[3], atol=1e-3)

    changed = state.clone()
    changed[..., 24 + 30 : 24 + 60] += 1.0
    head, blueprints, nothing = network.heads["blueprint"], network._embed(indices, 1, 1), torch.zeros(1, 1, 32)
    before, after = (head(nothing, network._slot_features(observed, blueprints)) for observed in (state, changed))
    moved = after - before
    assert moved.abs().amax(-1)[0, 0].gt(1e-6).tolist() == [False, True, False]


def test_without_memory_earlier_steps_do_not_matter():
    network = make_network(recurrent=False, entrance=False)
    state, indices = random_inputs(2, 4)
    changed = state.clone()
    changed[:, :3] += 1.0
    torch.testing.assert_close(network(state, indices).value[:, 3], network(changed, indices).value[:, 3])


def test_the_policy_begins_near_uniform():
    network = FactoredRecurrentActorCritic(114, 3, generator=torch.Generator().manual_seed(0))
    state, indices = random_inputs(16, 4)
    output = network.evaluate_actions(state, indices, torch.zeros(16, 4, 8, dtype=torch.int64))
    assert (output.head_entropies > 0.99).all()


@pytest.mark.parametrize("space", [gymnasium.spaces.Discrete(3), gymnasium.spaces.MultiDiscrete([2, 3, 4])])
def test_plain_action_spaces_work_without_slots_and_operation(space):
    heads = ActionCodec(space).heads
    network = RecurrentActorCritic(InputShape(4), heads, NetworkConfig(hidden_dim=16))
    state = torch.randn(5, 1, 4, generator=torch.Generator().manual_seed(0))
    output = network.get_action(state, generator=torch.Generator().manual_seed(0))
    assert output.sampled_op is None
    assert output.op_logits is None
    evaluated = network.evaluate_actions(state, None, output.actions.unsqueeze(1))
    torch.testing.assert_close(evaluated.log_probs.squeeze(1), output.log_probs)
    assert evaluated.slot_predictions is None


def test_contradictory_options_are_refused():
    space = FactoredActionSpace.independent(("action",), (4,))
    with pytest.raises(ValueError, match="needs an operation"):
        RecurrentActorCritic(InputShape(4), space, NetworkConfig(value_mode="op_q"))
    with pytest.raises(ValueError, match="value_mode"):
        NetworkConfig(value_mode="advantage")  # ty: ignore[invalid-argument-type]  # the test
    with pytest.raises(ValueError, match="features of slots"):
        FactoredRecurrentActorCritic(10, 3, slot_feature_dim=4)
    with pytest.raises(ValueError, match="slots"):
        RecurrentActorCritic(InputShape(10, 2, 13), growth_action_space(3), NetworkConfig(condition_sub_heads=True))


def test_an_unknown_field_of_an_output_is_an_attribute_error():
    state, indices = random_inputs(1, 1)
    with pytest.raises(AttributeError, match="flavour_logits"):
        _ = make_network()(state, indices).flavour_logits


@pytest.mark.gpu
def test_a_cuda_device_gives_the_same_numbers():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    network = make_network(condition_sub_heads=True)
    state, indices = random_inputs(6, 12)
    masks, starts = random_masks(6, 12), random_starts(6, 12)
    steps, _ = roll(network, state, indices, masks, starts, torch.Generator().manual_seed(3))
    actions = torch.stack([step.actions for step in steps], 1)
    on_cpu = network.evaluate_actions(state, indices, actions, masks=masks, episode_starts=starts)
    network.cuda()
    on_device = network.evaluate_actions(
        state.cuda(),
        indices.cuda(),
        actions.cuda(),
        masks={name: mask.cuda() for name, mask in masks.items()},
        episode_starts=starts.cuda(),
    )
    torch.testing.assert_close(on_device.log_probs.cpu(), on_cpu.log_probs, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(on_device.value.cpu(), on_cpu.value, atol=1e-3, rtol=1e-3)
    drawn = network.get_action(
        state[:, :1].cuda(), indices[:, 0].cuda(), generator=torch.Generator("cuda").manual_seed(0)
    )
    assert drawn.actions.is_cuda
