import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace
from sightline.tamiyo_policy.policy.contexts import ContextTable
from sightline.tamiyo_policy.policy.distribution import FactoredDistribution

SMALL = FactoredActionSpace(
    names=("slot", "part", "speed", "op"),
    sizes=(2, 3, 2, 3),
    op_head=3,
    relevance=torch.tensor(
        [[False, False, False, True], [True, True, True, True], [True, False, True, True]],
    ),
    placeholder=torch.tensor([0, 2, 1, 0]),
    slot_head=0,
)
"""Operation 0 uses nothing else, 1 everything, 2 slot and speed."""


def random_logits(table, batch, seed, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = {}
    for head, (name, size) in enumerate(zip(table.space.names, table.space.sizes, strict=True)):
        shape = (size,) if table.shares_logits(head) else (len(table.of(head)), size)
        logits[name] = (torch.randn(*batch, *shape, generator=generator) * scale).requires_grad_()
    return logits


def random_masks(space, batch, seed):
    """Masks in which every head has a choice and an operation is legal only if one of its slots is."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, shape in space.mask_shapes.items():
        mask = torch.rand(*batch, *shape, generator=generator) < 0.6
        mask[..., 0] |= ~mask.any(-1)
        masks[name] = mask
    return masks


def legal_actions(space, masks):
    """All actions with irrelevant heads at their placeholder, by enumeration."""
    names = space.names
    for choice in itertools.product(*(range(size) for size in space.sizes)):
        op = choice[space.op_head]
        fits = True
        for head, name in enumerate(names):
            if not space.relevance[op, head]:
                fits &= choice[head] == space.placeholder[head]
            elif masks is not None:
                fits &= bool(masks["slot_by_op"][op, choice[head]] if name == "slot" else masks[name][choice[head]])
        if fits:
            yield choice


def manual_probability(table, logits, masks, choice, epsilon):
    """Product of masked softmaxes, one head after the other, in plain Python."""
    space = table.space
    op, slot = choice[space.op_head], choice[space.slot_head]
    product = 1.0
    for head, name in enumerate(space.names):
        if not space.relevance[op, head]:
            continue
        row = logits[name]
        if not table.shares_logits(head):
            place = [
                index
                for index, context in enumerate(table.of(head))
                if op in context.ops and context.slot in (None, slot)
            ]
            assert len(place) == 1
            row = row[place[0]]
        legal = [True] * space.sizes[head]
        if masks is not None:
            legal = (masks["slot_by_op"][op] if name == "slot" else masks[name]).tolist()
        weights = [math.exp(value) if allowed else 0.0 for value, allowed in zip(row.tolist(), legal, strict=True)]
        softmax = weights[choice[head]] / sum(weights)
        product *= (1 - epsilon) * softmax + epsilon / sum(legal)
    return product


@given(
    conditioned=st.booleans(),
    masked=st.booleans(),
    epsilon=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_probabilities_and_entropy_equal_an_enumeration_of_all_actions(conditioned, masked, epsilon, seed):
    table = ContextTable(SMALL, conditioned=conditioned)
    logits = random_logits(table, (), seed)
    masks = random_masks(SMALL, (), seed) if masked else None
    distribution = FactoredDistribution(table, logits, masks, epsilon=epsilon)
    total, entropy = 0.0, 0.0
    for choice in legal_actions(SMALL, masks):
        expected = manual_probability(table, logits, masks, choice, epsilon)
        assert distribution.log_prob(torch.tensor(choice)).sum().exp().item() == pytest.approx(expected, abs=1e-6)
        total += expected
        entropy -= expected * math.log(expected)
    assert total == pytest.approx(1.0, abs=1e-6)
    assert distribution.entropy().item() == pytest.approx(entropy, abs=1e-5)
    assert distribution.entropy_terms().sum().item() == pytest.approx(entropy, abs=1e-5)


@pytest.mark.parametrize("conditioned", [False, True])
def test_sampled_frequencies_equal_the_probabilities(conditioned):
    table = ContextTable(SMALL, conditioned=conditioned)
    logits = random_logits(table, (), 3, scale=1.0)
    masks = random_masks(SMALL, (), 5)
    draws = 40_000
    wide = FactoredDistribution(
        table,
        {name: value.expand(draws, *value.shape) for name, value in logits.items()},
        {name: value.expand(draws, *value.shape) for name, value in masks.items()},
    )
    actions = wide.sample(torch.Generator().manual_seed(0))
    distinct, counts = actions.unique(dim=0, return_counts=True)
    found = {tuple(choice): count / draws for choice, count in zip(distinct.tolist(), counts.tolist(), strict=True)}
    expected = {c: manual_probability(table, logits, masks, c, 0.0) for c in legal_actions(SMALL, masks)}
    assert set(found) <= set(expected)
    for choice, probability in expected.items():
        assert found.get(choice, 0.0) == pytest.approx(probability, abs=0.015)


def test_the_mode_takes_the_best_operation_then_the_best_slot_for_it():
    table = ContextTable(SMALL)
    logits = {
        "slot": torch.tensor([1.0, 0.0]),
        "part": torch.tensor([0.0, 3.0, 1.0]),
        "speed": torch.tensor([0.0, 1.0]),
        "op": torch.tensor([0.0, 2.0, 1.0]),
    }
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SMALL.mask_shapes.items()}
    masks["slot_by_op"][1, 0] = False
    assert FactoredDistribution(table, logits, masks).mode().tolist() == [1, 1, 1, 1]


def test_heads_without_relevance_are_sampled_at_their_placeholder():
    table = ContextTable(SMALL)
    logits = random_logits(table, (500,), 0)
    actions = FactoredDistribution(table, logits).sample(torch.Generator().manual_seed(1))
    waits = actions[actions[:, 3] == 0]
    assert len(waits) > 20
    assert (waits[:, :3] == SMALL.placeholder[:3]).all()
    assert (actions[actions[:, 3] == 2][:, 1] == SMALL.placeholder[1]).all()


def test_an_illegal_choice_has_log_probability_minus_infinity():
    table = ContextTable(SMALL)
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SMALL.mask_shapes.items()}
    masks["part"][1] = False
    log_probs = FactoredDistribution(table, random_logits(table, (), 0), masks).log_prob(torch.tensor([0, 1, 0, 1]))
    assert log_probs[1] == -torch.inf
    assert log_probs[[0, 2, 3]].isfinite().all()


def test_a_missing_mask_is_named():
    table = ContextTable(SMALL)
    masks = random_masks(SMALL, (), 0)
    del masks["speed"]
    with pytest.raises(ValueError, match="speed"):
        FactoredDistribution(table, random_logits(table, (), 0), masks)


@pytest.mark.parametrize("wrong", [torch.ones(2, dtype=torch.bool), torch.ones(3)])
def test_a_mask_of_another_shape_or_dtype_is_refused(wrong):
    table = ContextTable(SMALL)
    masks = {**random_masks(SMALL, (), 0), "part": wrong}
    with pytest.raises(ValueError, match="'part'"):
        FactoredDistribution(table, random_logits(table, (), 0), masks)


def test_an_empty_slot_row_is_accepted_where_the_operation_is_illegal():
    table = ContextTable(SMALL)
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SMALL.mask_shapes.items()}
    masks["slot_by_op"][2] = False
    masks["op"][2] = False
    distribution = FactoredDistribution(table, random_logits(table, (), 0), masks)
    assert distribution.entropy().isfinite()
    masks["op"][2] = True
    with pytest.raises(ValueError, match="'slot' has no legal choice"):
        FactoredDistribution(table, random_logits(table, (), 0), masks)


def test_only_reachable_sub_heads_need_a_legal_choice():
    table = ContextTable(SMALL, conditioned=True)
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SMALL.mask_shapes.items()}
    masks["part"][:] = False
    with pytest.raises(ValueError, match="'part' has no legal choice"):
        FactoredDistribution(table, random_logits(table, (), 0), masks)
    masks["op"][1] = False
    assert FactoredDistribution(table, random_logits(table, (), 0), masks).entropy().isfinite()


@given(values=st.lists(st.floats(-20, 20), min_size=6, max_size=6), epsilon=st.sampled_from([0.05, 0.3]))
@settings(max_examples=60, deadline=None)
def test_the_floor_holds_and_keeps_the_order(values, epsilon):
    table = ContextTable(FactoredActionSpace.independent(("a",), (6,)))
    distribution = FactoredDistribution(table, {"a": torch.tensor(values)}, epsilon=epsilon)
    probabilities = torch.stack([distribution.log_prob(torch.tensor([index])).exp()[0] for index in range(6)])
    assert (probabilities >= epsilon / 6 - 1e-6).all()
    order = torch.tensor(values).argsort(stable=True)
    assert (probabilities[order].diff() >= -1e-6).all()


def test_the_floor_never_stops_the_gradient():
    table = ContextTable(FactoredActionSpace.independent(("a",), (6,)))
    logits = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], requires_grad=True)
    distribution = FactoredDistribution(table, {"a": logits}, epsilon=0.9)
    for action in range(6):
        (gradient,) = torch.autograd.grad(distribution.log_prob(torch.tensor([action]))[0], logits, retain_graph=True)
        assert gradient[action] > 1e-3


def test_masked_logits_receive_no_gradient_and_others_finite_ones():
    space = growth_action_space(3)
    table = ContextTable(space)
    logits = random_logits(table, (32,), 1)
    masks = random_masks(space, (32,), 2)
    masks["op"] &= masks["slot_by_op"].any(-1) | (torch.arange(6) == Op.WAIT)
    distribution = FactoredDistribution(table, logits, masks, epsilon=0.1)
    actions = distribution.sample(torch.Generator().manual_seed(0))
    (distribution.log_prob(actions).sum() + distribution.entropy().sum()).backward()
    assert (logits["blueprint"].grad[~masks["blueprint"]] == 0).all()
    assert all(value.grad.isfinite().all() for value in logits.values())


def test_normalised_entropies_are_one_for_uniform_heads_and_zero_for_a_single_choice():
    table = ContextTable(SMALL)
    logits = {name: torch.zeros(size) for name, size in zip(SMALL.names, SMALL.sizes, strict=True)}
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SMALL.mask_shapes.items()}
    masks["speed"][1] = False
    entropies = FactoredDistribution(table, logits, masks).normalised_entropies()
    assert entropies.tolist() == pytest.approx([1.0, 1.0, 0.0, 1.0], abs=1e-6)


def test_the_operation_is_credited_for_the_entropy_it_leads_to():
    table = ContextTable(SMALL)
    logits = {name: torch.zeros(size) for name, size in zip(SMALL.names, SMALL.sizes, strict=True)}
    logits["op"].requires_grad_()
    (gradient,) = torch.autograd.grad(FactoredDistribution(table, logits).entropy(), logits["op"])
    assert gradient[1] > gradient[2] > gradient[0]


def test_independent_heads_of_equal_size_need_no_padding():
    table = ContextTable(FactoredActionSpace.independent(("a", "b"), (3, 3)))
    assert table.direct
    logits = {"a": torch.tensor([0.0, 1.0, 2.0]), "b": torch.tensor([5.0, 0.0, 0.0])}
    log_probs = FactoredDistribution(table, logits).log_prob(torch.tensor([2, 0]))
    expected = [logits["a"].log_softmax(-1)[2].item(), logits["b"].log_softmax(-1)[0].item()]
    assert log_probs.tolist() == pytest.approx(expected)


def test_independent_heads_of_different_size_do_not_mix():
    table = ContextTable(FactoredActionSpace.independent(("a", "b"), (2, 4)))
    assert not table.direct
    logits = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([5.0, 0.0, 0.0, 1.0])}
    distribution = FactoredDistribution(table, logits)
    expected = [logits["a"].log_softmax(-1)[1].item(), logits["b"].log_softmax(-1)[3].item()]
    assert distribution.log_prob(torch.tensor([1, 3])).tolist() == pytest.approx(expected)
    assert distribution.mode().tolist() == [1, 0]


def test_conditioning_needs_an_operation():
    with pytest.raises(ValueError, match="operation"):
        ContextTable(FactoredActionSpace.independent(("a",), (2,)), conditioned=True)


def test_epsilon_out_of_range_is_refused():
    table = ContextTable(SMALL)
    with pytest.raises(ValueError, match="epsilon"):
        FactoredDistribution(table, random_logits(table, (), 0), epsilon=1.0)


def test_low_precision_logits_are_normalised_in_float32():
    table = ContextTable(SMALL)
    logits = {name: value.detach().bfloat16() for name, value in random_logits(table, (), 0).items()}
    log_probs = FactoredDistribution(table, logits).log_prob(torch.tensor([0, 0, 0, 1]))
    exact = logits["op"].double().log_softmax(-1)[1].item()
    assert log_probs.dtype == torch.float32
    assert log_probs[3].item() == pytest.approx(exact, abs=1e-6)
