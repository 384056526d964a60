from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sightline.tamiyo_policy.compat.bundle import LSTMPolicyBundle, PolicyBundle
from sightline.tamiyo_policy.compat.config import PolicyConfig

HEADS = {"slot", "blueprint", "style", "tempo", "alpha_target", "alpha_speed", "alpha_curve", "op"}


def make_bundle(**options):
    arguments: dict[str, Any] = {"hidden_dim": 16, "layout": "v114", **options}
    return LSTMPolicyBundle(PolicyConfig(**arguments))


def random_inputs(batch, steps):
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(batch, steps, 114, generator=generator)
    return state, torch.randint(-1, 13, (batch, steps, 3), generator=generator)


def test_get_action():
    bundle = make_bundle()
    state, indices = random_inputs(4, 1)
    hidden = bundle.initial_hidden(4)
    result = bundle.get_action(
        state[:, 0], blueprint_indices=indices[:, 0], hidden=hidden, generator=torch.Generator().manual_seed(0)
    )
    assert set(result.actions) == set(result.log_probs) == set(result.head_entropies) == HEADS
    assert result.actions["op"].shape == result.value.shape == (4,)
    assert result.op_logits.shape == (4, 6)
    assert not torch.equal(result.hidden[0], hidden[0])


def test_evaluate_actions():
    bundle = make_bundle(value_mode="op_q")
    state, indices = random_inputs(4, 1)
    taken = bundle.get_action(state[:, 0], indices[:, 0], generator=torch.Generator().manual_seed(0))
    stored = {name: column.unsqueeze(1) for name, column in taken.actions.items()}
    result = bundle.evaluate_actions(state, indices, stored)
    torch.testing.assert_close(result.value[:, 0], taken.value)
    for name in HEADS:
        torch.testing.assert_close(result.log_probs[name][:, 0], taken.log_probs[name])
    assert result.contributions.shape == (4, 1, 3)
    result.entropy.sum().backward()


def test_forward_and_get_value_pass_the_blueprints_on():
    bundle = make_bundle()
    state, indices = random_inputs(2, 3)
    other = (indices + 2) % 13
    assert set(bundle.forward(state, indices).logits) == HEADS
    assert not torch.allclose(bundle.forward(state, indices).value, bundle.forward(state, other).value, atol=1e-7)
    assert not torch.allclose(bundle.get_value(state, indices), bundle.get_value(state, other), atol=1e-7)


def test_masks_and_episode_starts_reach_the_network():
    bundle = make_bundle()
    state, indices = random_inputs(2, 3)
    shapes = bundle.network.action_space.mask_shapes
    masks = {name: torch.ones(2, 3, *shape, dtype=torch.bool) for name, shape in shapes.items()}
    masks["op"][:, :, 1:] = False
    forward = bundle.forward(state, indices, masks=masks)
    assert (forward.sampled_op == 0).all()
    actions = torch.zeros(2, 3, 8, dtype=torch.int64)
    starts = torch.tensor([[False, False, True]] * 2)
    result = bundle.evaluate_actions(state, indices, actions, masks=masks, episode_starts=starts)
    assert (result.entropy == 0).all()
    alone = bundle.evaluate_actions(state[:, 2:], indices[:, 2:], actions[:, 2:])
    torch.testing.assert_close(result.value[:, 2:], alone.value)


def test_several_steps_are_no_action():
    state, indices = random_inputs(2, 3)
    with pytest.raises(ValueError, match="one step"):
        make_bundle().get_action(state, indices)


def test_the_bundle_offers_what_the_protocol_asks():
    bundle = make_bundle()
    assert isinstance(bundle, PolicyBundle)
    assert bundle.is_recurrent
    assert not bundle.is_compiled
    assert bundle.device == torch.device("cpu")
    assert not make_bundle(recurrent=False).is_recurrent


def test_weights_move_between_bundles_of_the_same_make():
    first, second = make_bundle(seed=1), make_bundle(seed=2)
    state, indices = random_inputs(2, 3)
    assert not torch.equal(first.get_value(state, indices), second.get_value(state, indices))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.get_value(state, indices), second.get_value(state, indices))


@pytest.mark.parametrize(
    ("option", "value"), [("slot_names", ("r0c1", "r0c0", "r0c2")), ("hidden_dim", 8), ("value_mode", "op_q")]
)
def test_weights_of_another_make_are_refused(option, value):
    bundle = make_bundle()
    before = {name: weight.clone() for name, weight in bundle.network.state_dict().items()}
    with pytest.raises(ValueError, match=option):
        bundle.load_state_dict(make_bundle(**{option: value}, seed=3).state_dict())
    assert all(torch.equal(before[name], weight) for name, weight in bundle.network.state_dict().items())


def test_incomplete_weights_are_refused_before_anything_changes():
    bundle = make_bundle()
    before = {name: weight.clone() for name, weight in bundle.network.state_dict().items()}
    state = make_bundle(seed=3).state_dict()
    del state["network"]["memory_norm.weight"]
    with pytest.raises(ValueError, match=r"memory_norm\.weight"):
        bundle.load_state_dict(state)
    assert all(torch.equal(before[name], weight) for name, weight in bundle.network.state_dict().items())


def test_the_same_configuration_gives_the_same_weights():
    state, indices = random_inputs(2, 3)
    assert torch.equal(make_bundle().get_value(state, indices), make_bundle().get_value(state, indices))


def test_the_state_size_follows_the_layout_and_the_slots():
    assert make_bundle().network.inputs.features == 114
    assert make_bundle(layout="v116").network.inputs.features == 116
    assert make_bundle(slot_names=("a", "b")).network.inputs.features == 84
    assert make_bundle(state_dim=9).network.inputs.features == 9


@pytest.mark.parametrize("wrong", [{"slot_names": ("a", "a")}, {"slot_names": ()}, {"epsilon": 1.0}, {"width": 3}])
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValidationError):
        PolicyConfig(**wrong)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile looks at it
def test_a_compiled_bundle_gives_the_same_numbers():
    plain, compiled = make_bundle(), make_bundle()
    compiled.compile()
    state, indices = random_inputs(2, 3)
    torch.testing.assert_close(
        compiled.get_value(state, indices), plain.get_value(state, indices), atol=1e-5, rtol=1e-4
    )
    actions = torch.zeros(2, 3, 8, dtype=torch.int64)
    torch.testing.assert_close(
        compiled.evaluate_actions(state, indices, actions).log_probs,
        plain.evaluate_actions(state, indices, actions).log_probs,
        atol=1e-5,
        rtol=1e-4,
    )
    assert compiled.state_dict()["network"].keys() == plain.state_dict()["network"].keys()


def test_a_compiled_bundle_is_neither_moved_nor_compiled_again(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, mode: None)
    bundle = make_bundle()
    bundle.compile()
    assert bundle.is_compiled
    with pytest.raises(RuntimeError, match="before compile"):
        bundle.to("cpu")
    with pytest.raises(RuntimeError, match="already"):
        bundle.compile()
