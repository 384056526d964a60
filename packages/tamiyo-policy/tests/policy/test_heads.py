import pytest
import torch
from torch import nn

from sightline.tamiyo_policy.policy.contexts import Context
from sightline.tamiyo_policy.policy.heads import ConditionedHead, perceptron


def test_layers_normalisations_and_gains_are_as_asked():
    layers = perceptron((6, 5, 4, 2), last_gain=0.01, normalised=1, generator=torch.Generator().manual_seed(0))
    kinds = [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in layers] == kinds
    first, last = layers.get_parameter("0.weight"), layers.get_parameter("5.weight")
    torch.testing.assert_close(first @ first.T, 2 * torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(last @ last.T, 1e-4 * torch.eye(2), atol=1e-7, rtol=0)


@pytest.mark.parametrize("with_slots", [False, True])
def test_a_conditioned_head_equals_one_context_after_the_other(with_slots):
    contexts = [Context(0, (1,), 0), Context(0, (1,), 1), Context(0, (4,))]
    if not with_slots:
        contexts = [Context(0, (1,)), Context(0, (4,))]
    generator = torch.Generator().manual_seed(0)
    head = ConditionedHead((6, 5, 3), contexts, num_ops=6, slot_features=2, generator=generator)
    features, slots = torch.randn(7, 6, generator=generator), torch.randn(7, 2, 2, generator=generator)
    for layer in (head.features, head.operation):
        torch.testing.assert_close(layer.weight @ layer.weight.T, 2 * torch.eye(5), atol=1e-5, rtol=0)
    logits = head(features, slots)
    assert logits.shape == (7, len(contexts), 3)
    for index, context in enumerate(contexts):
        hidden = head.features(features) + head.operation(torch.eye(6)[context.ops[0]])
        if head.slot is not None and context.slot is not None:
            hidden = hidden + head.slot(slots[:, context.slot])
        torch.testing.assert_close(logits[:, index], head.rest(hidden))
