import math

import torch

from sightline.tamiyo_policy.hosts.config import AdamConfig
from sightline.tamiyo_policy.hosts.stacked.adam import AdamState, adam_step


def test_adam_on_a_stack_agrees_with_the_adam_of_torch_on_each_module():
    config = AdamConfig(learning_rate=0.05, epsilon=1e-8, max_norm=1.0)
    stacked = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    singles = [row.clone().requires_grad_() for row in stacked]
    optimisers = [torch.optim.Adam([row], lr=0.05, eps=1e-8) for row in singles]
    state = AdamState.zeros(stacked)
    for step in range(5):
        gradient = torch.randn(3, 6, generator=torch.Generator().manual_seed(step + 1))
        active = torch.tensor([True, step % 2 == 0, True])
        adam_step(stacked, gradient.clone(), state, active, config)
        for index, (row, optimiser) in enumerate(zip(singles, optimisers, strict=True)):
            if active[index]:
                row.grad = gradient[index].clone()
                torch.nn.utils.clip_grad_norm_([row], 1.0)
                optimiser.step()
    torch.testing.assert_close(stacked, torch.stack([row.detach() for row in singles]), atol=1e-5, rtol=1e-5)


def test_a_gradient_that_is_not_finite_leaves_its_module_and_no_other_alone():
    parameters, config = torch.ones(2, 3), AdamConfig()
    gradient = torch.tensor([[1.0, math.nan, 0.0], [1.0, 1.0, 1.0]])
    norm = adam_step(parameters, gradient, state := AdamState.zeros(parameters), torch.ones(2).bool(), config)
    assert parameters[0].tolist() == [1, 1, 1]
    assert parameters[1].tolist() != [1, 1, 1]
    assert (state.steps.tolist(), bool(norm[0].isnan())) == ([0, 1], True)
