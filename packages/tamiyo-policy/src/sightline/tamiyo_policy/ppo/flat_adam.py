"""Adam on all parameters of a module as one vector: clip, moments and step take one operation each.

Knows nothing about what the module computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class FlatAdam:
    """Adam (Kingma and Ba 2015) with a clip of the whole gradient; for small modules, whose many tensors cost time.

    On a CPU the parameters become parts of one vector, which a step moves in place. Those that have memory of their
    own, there or on other devices, are copied to the vector and back.

    Args:
        module: its parameters are changed in place; they may also be changed by others between steps.
        learning_rate: step size.
        max_norm: longer gradients are shortened to this.
    """

    def __init__(self, module: nn.Module, *, learning_rate: float, max_norm: float) -> None:
        self._parameters: list[Tensor] = list(module.parameters())
        self._sizes = [parameter.numel() for parameter in self._parameters]
        self._max_norm = max_norm
        self._vector = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in self._parameters]))
        self._gradient = torch.zeros_like(self._vector.detach())
        # Views in the shapes of the parameters, so that all are copied by one operation.
        self._values, self._slopes = (
            [part.view_as(each) for part, each in zip(flat.split(self._sizes), self._parameters, strict=True)]
            for flat in (self._vector.detach(), self._gradient)
        )
        if self._vector.device.type == "cpu":  # elsewhere recurrent layers want their weights in a block of their own
            for parameter, value in zip(self._parameters, self._values, strict=True):
                parameter.data = value
        self._adam = torch.optim.Adam([self._vector], lr=learning_rate, eps=1e-5, fused=True)

    @property
    def learning_rate(self) -> float:
        """Step size of the next step; part of the state that is saved."""
        return self._adam.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._adam.param_groups[0]["lr"] = rate

    def step(self, loss: Tensor) -> float:
        """Move the parameters against the gradient of a loss; those that it does not depend on have gradient 0.

        Args:
            loss: scalar with a graph.

        Returns:
            The Euclidean norm of the gradient before the clip. If it is not finite, nothing was changed.
        """
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        with torch.no_grad():
            found = [torch.zeros_like(each) if each.grad is None else each.grad for each in self._parameters]
            torch._foreach_copy_(self._slopes, found)
            norm = torch.linalg.vector_norm(self._gradient).item()
            if not norm < torch.inf:
                return norm
            pairs = zip(self._parameters, self._values, strict=True)
            apart = any(parameter.data_ptr() != value.data_ptr() for parameter, value in pairs)
            if apart:
                torch._foreach_copy_(self._values, self._parameters)
            self._vector.grad = self._gradient.mul_(min(1.0, self._max_norm / max(norm, 1e-12)))
            self._adam.step()
            if apart:
                torch._foreach_copy_(self._parameters, self._values)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Return the moments and the step count."""
        return self._adam.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` returned, for a module of the same shape.

        Raises:
            RuntimeError: the state is of other parameters.
        """
        found = [len(moments["exp_avg"]) for moments in state["state"].values()]
        if found not in ([], [len(self._vector)]):
            raise RuntimeError(f"the saved optimiser has {sum(found)} parameters, this one {len(self._vector)}")
        self._adam.load_state_dict(dict(state))
