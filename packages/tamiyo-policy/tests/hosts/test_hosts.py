import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.hosts.config import FAMILIES
from sightline.tamiyo_policy.hosts.hosts import Host, TokenHost

HOST = TokenHost()


def forward(draws, inputs):
    """Logits [R, classes, B] of drawn hosts without seeds."""
    parameters = torch.from_numpy(np.stack([draw.parameters for draw in draws]))
    constants = torch.from_numpy(np.stack([draw.constants for draw in draws]))
    stages = parameters.split(HOST.stage_sizes, dim=1)
    hidden = HOST.stem(stages[0], inputs)
    for index in range(HOST.num_slots):
        hidden = HOST.block(index, stages[index + 1], constants, hidden, inputs)
    return HOST.readout(stages[-1], hidden)


def slow_logits(family, draw, image):
    """Logits of one image [C, S], written out from the definition of the families."""
    parts = np.split(draw.parameters.astype(np.float64), np.cumsum(HOST.stage_sizes)[:-1])
    constants = draw.constants.astype(np.float64)
    hidden = parts[0][:32].reshape(8, 4) @ image + parts[0][32:].reshape(8, 16)
    for block in range(3):
        mixer, weight, bias = np.split(parts[block + 1], [256, 320])
        if family == "D" and block == 2:
            hidden = constants[3:35].reshape(8, 4) @ image
        if family in "BC":
            hidden = hidden + hidden @ mixer.reshape(16, 16).T
        hidden = weight.reshape(8, 8) @ hidden + bias[:, None]
        if family not in "CE":
            hidden = np.maximum(hidden, 0)
        if family == "B":
            hidden = hidden * constants[35:].reshape(3, 8)[block][:, None]
    return parts[-1][:80].reshape(10, 8) @ hidden.mean(1) + parts[-1][80:]


def test_stacked_hosts_of_all_families_agree_with_a_slow_computation_of_each_image(generator):
    draws = [HOST.draw(family, np.random.default_rng(seed)) for seed, family in enumerate(FAMILIES)]
    for draw in draws:
        draw.parameters[draw.trainable] += 0.1 * generator.standard_normal(draw.trainable.sum()).astype(np.float32)
    inputs = generator.standard_normal((len(draws), 4, 3, 16)).astype(np.float32)
    logits = forward(draws, torch.from_numpy(inputs)).numpy()
    for row, family in enumerate(FAMILIES):
        for sample in range(3):
            slow = slow_logits(family, draws[row], inputs[row, :, sample].astype(np.float64))
            np.testing.assert_allclose(logits[row, :, sample], slow, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("family", "count"), [("A", 466), ("B", 1234), ("C", 1234), ("D", 466), ("E", 466)])
def test_a_host_trains_as_many_parameters_as_documented(family, count):
    draw = HOST.draw(family, np.random.default_rng(0))
    assert int(draw.trainable.sum()) == count
    assert not draw.parameters[~draw.trainable].any()


def test_a_seed_gives_the_host_that_it_always_gave():
    draw = HOST.draw("B", np.random.default_rng([3, 0]))
    np.testing.assert_allclose(draw.parameters[[0, 40, 500, 1200]], [1.0205, 0.1382, -0.0032, 0.2789], atol=1e-4)
    assert draw.constants[40] == pytest.approx(5.5846, abs=1e-4)


def test_families_share_what_they_have_in_common():
    first, other = (HOST.draw(family, np.random.default_rng(4)) for family in "AC")
    common = first.trainable & other.trainable
    assert np.array_equal(first.parameters[common], other.parameters[common])


def test_scales_of_family_b_span_the_documented_decades():
    scales = np.concatenate([HOST.draw("B", np.random.default_rng(seed)).constants[35:] for seed in range(20)])
    assert 10**-1.2 <= scales.min() < 0.1
    assert 10 < scales.max() <= 10**1.2


def test_in_family_d_only_the_last_block_matters(generator):
    inputs = torch.from_numpy(generator.standard_normal((1, 4, 8, 16)).astype(np.float32))

    def change(family):
        draw = HOST.draw(family, np.random.default_rng(1))
        plain = forward([draw], inputs)
        draw.parameters[160:488] *= 1.5
        return float((forward([draw], inputs) - plain).abs().max() / plain.abs().max())

    assert change("D") == 0 < change("A")


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="unknown host family 'Z'"):
        HOST.draw("Z", np.random.default_rng(0))


def test_the_token_host_offers_what_growth_needs():
    assert isinstance(HOST, Host)
    assert sum(HOST.stage_sizes) == 1234
    assert len(HOST.draw("A", np.random.default_rng(0)).constants) == HOST.constant_size


@pytest.mark.parametrize("family", ["A", "B", "C"])
def test_a_block_behind_the_depth_hands_on_what_it_gets_and_does_not_train(family: str) -> None:
    host = TokenHost()
    drawn = host.altered(host.draw(family, np.random.default_rng(0)), depth=1, gain=1.0)
    sizes = np.cumsum([0, *host.stage_sizes])
    parts = torch.from_numpy(drawn.parameters)[None].split(host.stage_sizes, dim=1)
    hidden, pixels = torch.rand(1, 8, 5, 16), torch.rand(1, 4, 5, 16)
    constants = torch.from_numpy(drawn.constants)[None]
    for index in (1, 2):
        after = host.block(index, parts[1 + index], constants, hidden, pixels)
        torch.testing.assert_close(after, hidden)
        assert not drawn.trainable[sizes[1 + index] : sizes[2 + index]].any()
    assert drawn.trainable[sizes[1] : sizes[2]].any()


def test_the_gain_scales_the_first_maps_of_the_blocks_that_learn_and_nothing_else() -> None:
    host = TokenHost()
    plain = host.draw("B", np.random.default_rng(0))
    scaled = host.altered(plain, depth=3, gain=0.5)
    changed = plain.parameters != scaled.parameters
    assert changed.sum() == 3 * 64
    np.testing.assert_allclose(scaled.parameters[changed], 0.5 * plain.parameters[changed])
    assert np.array_equal(plain.constants, scaled.constants)
