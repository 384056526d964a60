"""The network's layers; the one module of this folder that PyTorch is imported with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualNetwork(nn.Module):
    """Policy and value of boards.

    Args:
        cells: cells of the board.
        actions: A.
        channels: channels of every convolution.
        blocks: residual blocks.
        value_width: hidden units before the value.
        planes: P.
    """

    def __init__(
        self, cells: int, actions: int, channels: int, blocks: int, value_width: int, *, planes: int = 2
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(planes, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(channels) for _ in range(blocks))
        self.policy = nn.Linear(channels * cells, actions)
        self.value_hidden = nn.Linear(channels * cells, value_width)
        self.value = nn.Linear(value_width, 1)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return planes `[n, P, columns, rows]` -> (logits `[n, A]`, value in [-1, 1] `[n]`), float32."""
        hidden = functional.relu(self.stem(planes))
        for block in self.blocks:
            hidden = block(hidden)
        flat = hidden.flatten(1)
        value = torch.tanh(self.value(functional.relu(self.value_hidden(flat))).float())
        return self.policy(flat).float(), value[:, 0]


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # ty: ignore[invalid-argument-type]

    def forward(self, hidden: Tensor) -> Tensor:
        """`[n, channels, columns, rows]` -> the same shape."""
        return functional.relu(hidden + self.second(functional.relu(self.first(hidden))))
