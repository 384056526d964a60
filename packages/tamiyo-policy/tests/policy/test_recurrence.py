import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.policy.recurrence import Memoryless, ResettingGRU, ResettingLSTM, initialise_linear

INPUTS, SIZE = 3, 5


def make_layer(seed=0):
    layer = ResettingLSTM(INPUTS, SIZE, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            free = parameter[:, :INPUTS] if "weight_ih" in name else parameter
            free += 0.1 * torch.randn(free.shape, generator=torch.Generator().manual_seed(seed + 1))
    return layer


def loop(layer, inputs, hidden, starts):
    """One step after the other by the equations of Hochreiter and Schmidhuber (1997) with a forget gate."""
    weights = dict(layer.lstm.named_parameters())
    h, c = hidden[0][0], hidden[1][0]
    outputs = []
    for step in range(inputs.shape[1]):
        keep = (~starts[:, step]).float()[:, None]
        h, c = h * keep, c * keep
        gates = inputs[:, step] @ weights["weight_ih_l0"][:, :INPUTS].T + weights["bias_ih_l0"]
        gates = gates + h @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
        i, f, g, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs, 1), (h[None], c[None])


def random_case(batch, steps, seed, rate):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(batch, steps, INPUTS, generator=generator)
    hidden = (torch.randn(1, batch, SIZE, generator=generator), torch.randn(1, batch, SIZE, generator=generator))
    return inputs, hidden, torch.rand(batch, steps, generator=generator) < rate


@given(
    batch=st.integers(1, 4),
    steps=st.integers(1, 9),
    rate=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_sequences_with_resets_equal_a_loop_over_steps(batch, steps, rate, seed):
    layer = make_layer()
    inputs, hidden, starts = random_case(batch, steps, seed, rate)
    outputs, (h, c) = layer(inputs, hidden, starts)
    expected, (expected_h, expected_c) = loop(layer, inputs, hidden, starts)
    torch.testing.assert_close(outputs, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(h, expected_h, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(c, expected_c, atol=1e-6, rtol=1e-5)


def test_gradients_with_resets_equal_those_of_a_loop():
    layer = make_layer()
    inputs, hidden, starts = random_case(4, 12, 7, 0.3)
    results = []
    for run in (lambda: layer(inputs, hidden, starts), lambda: loop(layer, inputs, hidden, starts)):
        layer.zero_grad()
        outputs, (_, c) = run()
        (outputs.square().sum() + c.square().sum()).backward()
        results.append([parameter.grad.clone() for parameter in layer.parameters()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_nothing_crosses_an_episode_start():
    layer = make_layer()
    inputs, hidden, starts = random_case(2, 8, 0, 0.0)
    starts[:, 5] = True
    inputs.requires_grad_()
    outputs, _ = layer(inputs, hidden, starts)
    (gradient,) = torch.autograd.grad(outputs[:, 5:].sum(), inputs)
    assert (gradient[:, :5] == 0).all()
    assert (gradient[:, 5:] != 0).any(-1).all()


def test_weights_of_the_control_features_get_no_gradient():
    layer = make_layer()
    inputs, hidden, starts = random_case(3, 9, 1, 0.4)
    outputs, (h, c) = layer(inputs, hidden, starts)
    (outputs.sum() + h.square().sum() + c.square().sum()).backward()
    gradient = dict(layer.lstm.named_parameters())["weight_ih_l0"].grad
    assert gradient is not None
    assert (gradient[:, INPUTS:] == 0).all()
    assert (gradient[:, :INPUTS] != 0).any()


def test_one_sequence_equals_its_parts_with_the_state_carried_over():
    layer = make_layer()
    inputs, hidden, starts = random_case(3, 10, 2, 0.3)
    whole, _ = layer(inputs, hidden, starts)
    first, between = layer(inputs[:, :4], hidden, starts[:, :4])
    second, _ = layer(inputs[:, 4:], between, starts[:, 4:])
    torch.testing.assert_close(whole, torch.cat([first, second], 1), atol=1e-6, rtol=1e-5)


def test_the_forget_gate_begins_open_and_gate_weights_orthogonal():
    layer = ResettingLSTM(INPUTS, SIZE, generator=torch.Generator().manual_seed(0))
    weights = dict(layer.lstm.named_parameters())
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    assert bias.reshape(4, SIZE).tolist() == [[0.0] * SIZE, [1.0] * SIZE, [0.0] * SIZE, [0.0] * SIZE]
    for gate in weights["weight_hh_l0"].detach().chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(SIZE), atol=1e-5, rtol=0)


def test_the_control_has_no_memory_and_almost_as_many_weights():
    control = Memoryless(64, 64, generator=torch.Generator().manual_seed(0))
    inputs = torch.randn(2, 6, 64, generator=torch.Generator().manual_seed(1))
    hidden = (torch.zeros(1, 2, 64), torch.ones(1, 2, 64))
    outputs, after = control(inputs, hidden)
    assert after is hidden
    torch.testing.assert_close(outputs[:, 3:4], control(inputs[:, 3:4], hidden)[0])
    sizes = [sum(p.numel() for p in module.parameters()) for module in (control, ResettingLSTM(64, 64))]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_only_linear_layers_can_be_initialised():
    with pytest.raises(TypeError, match="ReLU"):
        initialise_linear(torch.nn.ReLU(), 1.0, None)


def make_gru() -> ResettingGRU:
    layer = ResettingGRU(INPUTS, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=torch.Generator().manual_seed(1)))
    return layer


def gru_loop(layer: ResettingGRU, inputs, hidden, starts):
    """One step after the other by the equations of Cho et al. (2014), the candidate's memory behind the reset gate."""
    h, outputs = hidden[0][0], []
    for step in range(inputs.shape[1]):
        h = torch.where(starts[:, step, None], 0.0, h)
        reset_in, update_in, new_in = (inputs[:, step] @ layer.input_weight.T + layer.bias[:, 0]).chunk(3, dim=-1)
        reset_h, update_h, new_h = (h @ layer.hidden_weight.T).chunk(3, dim=-1)
        update = (update_in + update_h).sigmoid()
        new = (new_in + (reset_in + reset_h).sigmoid() * new_h).tanh()
        h = (1 - update) * new + update * h
        outputs.append(h)
    return torch.stack(outputs, 1), (h[None], hidden[1])


@given(steps=st.integers(1, 9), rate=st.sampled_from([0.0, 0.2, 0.6, 1.0]), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_gru_with_resets_equals_a_loop_over_steps(steps, rate, seed):
    layer = make_gru()
    inputs, hidden, starts = random_case(3, steps, seed, rate)
    outputs, (h, c) = layer(inputs, hidden, starts)
    expected, (expected_h, _) = gru_loop(layer, inputs, hidden, starts)
    torch.testing.assert_close(outputs, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(h, expected_h, atol=1e-6, rtol=1e-5)
    assert c is hidden[1]


def test_gradients_of_a_gru_with_resets_equal_those_of_a_loop():
    layer = make_gru()
    inputs, hidden, starts = random_case(4, 12, 7, 0.3)
    results = []
    for run in (layer, lambda *case: gru_loop(layer, *case)):
        outputs, (h, _) = run(inputs, hidden, starts)
        results.append(torch.autograd.grad(outputs.square().sum() + h.sum(), list(layer.parameters())))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", [make_layer(), make_gru()], ids=("lstm", "gru"))
def test_what_is_not_finite_is_forgotten_where_an_episode_starts(layer):
    inputs, hidden, starts = random_case(2, 3, 0, 0.0)
    starts[:, 0] = True
    broken = (torch.full_like(hidden[0], torch.nan), torch.full_like(hidden[1], torch.nan))
    assert layer(inputs, broken, starts)[0].isfinite().all()
