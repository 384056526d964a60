"""A recurrent layer that forgets at episode starts inside a sequence, without a Python loop over steps.

The module knows nothing of actions, values or environments. Axes: B sequences, T steps, M features of the
input, N units.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

Hidden: TypeAlias = tuple[Tensor, Tensor]
"""State of the memory: h and c, each float [1, B, N]; a GRU only has h, and c is carried along."""

_SATURATED = 1e4  # sigmoid(-1e4) is exactly 0 and sigmoid(1e4) exactly 1; within the range of float16


class ResettingLSTM(nn.Module):
    """One LSTM layer over whole sequences whose state is zeroed wherever an episode starts.

    Before every step that starts an episode a *reset step* is put into the sequence. An extra input feature, on at
    these steps only, closes the input, forget and output gates, which makes h and c exactly 0. Rows with fewer resets
    end in *hold steps*, at which a second feature keeps c. The whole batch stays one call of `torch.nn.LSTM` on
    [B, T + most resets in a row, M + 2], equal to a loop over steps; on a CPU packed sequences, one for each episode,
    take several times as long. The gradient of both features' weights is exactly 0, so they keep their values.

    Args:
        inputs: M.
        size: N.
        generator: draws the weights (orthogonal for each gate; biases 0, that of the forget gate 1, Jozefowicz et al.
            2015); None is torch's default.
    """

    def __init__(self, inputs: int, size: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.inputs, self.size = inputs, size
        self.lstm = nn.LSTM(inputs + 2, size, batch_first=True)
        parameters = dict(self.lstm.named_parameters())
        with torch.no_grad():
            for name in ("weight_ih_l0", "weight_hh_l0"):
                for gate in parameters[name][:, : inputs if name == "weight_ih_l0" else size].chunk(4):
                    nn.init.orthogonal_(gate, generator=generator)
            parameters["bias_hh_l0"].zero_()
            parameters["bias_ih_l0"].zero_()
            parameters["bias_ih_l0"][size : 2 * size] = 1.0
            # torch keeps the gates in the order input, forget, cell, output
            reset = torch.tensor([-_SATURATED, -_SATURATED, 0.0, -_SATURATED])
            hold = torch.tensor([-_SATURATED, _SATURATED, 0.0, 0.0])
            controls = torch.stack([reset, hold], dim=1).repeat_interleave(size, dim=0)
            parameters["weight_ih_l0"][:, inputs:] = controls

    def forward(self, inputs: Tensor, hidden: Hidden, episode_starts: Tensor | None = None) -> tuple[Tensor, Hidden]:
        """Return outputs of every step and the state after the last.

        Args:
            inputs: [B, T, M].
            hidden: state before the first step.
            episode_starts: bool [B, T], True where the state is zeroed before the step; None for nowhere.

        Returns:
            Outputs [B, T, N] and the state, both in the dtype of the computation.
        """
        hidden = (hidden[0].to(inputs.dtype), hidden[1].to(inputs.dtype))
        if episode_starts is None:
            return self._run(inputs, hidden)
        keep = ~episode_starts[:, 0, None]
        hidden = (hidden[0].where(keep, 0.0), hidden[1].where(keep, 0.0))  # also where it is not finite
        resets = episode_starts[:, 1:].cumsum(1)
        most = int(resets[:, -1].max()) if resets.numel() else 0
        if most == 0:
            return self._run(inputs, hidden)
        return self._with_resets(inputs, hidden, nn.functional.pad(resets, (1, 0)), most)

    def _run(self, inputs: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """Run the layer over [B, T, M] without resets."""
        if inputs.shape[1] != 1 or torch.is_grad_enabled():
            return self.lstm(nn.functional.pad(inputs, (0, 2)), hidden)
        # A single step, as in a rollout, takes the cell half as long as the layer.
        ((input_weight, hidden_weight, *biases),) = self.lstm.all_weights
        state = (hidden[0][0], hidden[1][0])
        output, cell = torch.lstm_cell(inputs[:, 0], state, input_weight[:, : self.inputs], hidden_weight, *biases)
        return output.unsqueeze(1), (output.unsqueeze(0), cell.unsqueeze(0))

    def _with_resets(self, inputs: Tensor, hidden: Hidden, resets: Tensor, most: int) -> tuple[Tensor, Hidden]:
        """Run `forward` with the number of resets before each step, [B, T], and the largest of them."""
        spread, row, position = spread_over(inputs, resets, most)
        outputs, (_, cell) = self.lstm(spread, hidden)
        outputs = outputs[row, position]
        return outputs, (outputs[:, -1].unsqueeze(0), cell)


class ResettingGRU(nn.Module):
    """One GRU layer (Cho et al. 2014) over whole sequences whose state is zeroed wherever an episode starts.

    Reset and hold steps are put into the sequence as in `ResettingLSTM`. Here closed reset and update gates leave the
    candidate tanh(0) = 0 as the state, which takes a layer without biases; these come as the weights of an input that
    is 1 at ordinary steps. The weights of the control features are constants.

    Args:
        inputs: M.
        size: N.
        generator: draws the weights (orthogonal for each gate; biases 0); None is torch's default.
    """

    controls: Tensor

    def __init__(self, inputs: int, size: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.inputs, self.size = inputs, size
        self.input_weight = nn.Parameter(torch.empty(3 * size, inputs))
        self.hidden_weight = nn.Parameter(torch.empty(3 * size, size))
        self.bias = nn.Parameter(torch.zeros(3 * size, 1))
        with torch.no_grad():
            for weight in (self.input_weight, self.hidden_weight):
                for gate in weight.chunk(3):
                    nn.init.orthogonal_(gate, generator=generator)
        # torch keeps the gates in the order reset, update, candidate; an open update gate keeps the state
        reset = torch.tensor([-_SATURATED, -_SATURATED, 0.0])
        hold = torch.tensor([-_SATURATED, _SATURATED, 0.0])
        self.register_buffer("controls", torch.stack([reset, hold], 1).repeat_interleave(size, 0), persistent=False)

    def forward(self, inputs: Tensor, hidden: Hidden, episode_starts: Tensor | None = None) -> tuple[Tensor, Hidden]:
        """Return outputs of every step and the state after the last, as `ResettingLSTM.forward`; c stays as it is."""
        before = hidden[0].to(inputs.dtype)
        marked = nn.functional.pad(inputs, (0, 1), value=1.0)
        starts = inputs.new_zeros(inputs.shape[:2], dtype=torch.bool) if episode_starts is None else episode_starts
        before = before.where(~starts[:, 0, None], 0.0)
        resets = nn.functional.pad(starts[:, 1:].cumsum(1), (1, 0))
        most = int(resets[:, -1].max())
        if most == 0:
            outputs, after = self._run(nn.functional.pad(marked, (0, 2)), before)
        else:
            spread, row, position = spread_over(marked, resets, most)
            outputs, after = self._run(spread, before)
            outputs = outputs[row, position]
        return outputs, (after, hidden[1])

    def _run(self, inputs: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.cat([self.input_weight, self.bias, self.controls.to(self.bias.dtype)], 1)
        outputs, after = torch.gru(
            inputs,
            before,
            [weight, self.hidden_weight],
            has_biases=False,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return outputs, after


class Memoryless(nn.Module):
    """A two-layer perceptron of about the size of a `ResettingLSTM` and no memory, the control for it.

    Args:
        inputs: M.
        size: N.
        generator: draws the weights; None is torch's default.
    """

    def __init__(self, inputs: int, size: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(nn.Linear(inputs, 4 * size), nn.ReLU(), nn.Linear(4 * size, size))
        for layer, gain in ((self.layers[0], 2**0.5), (self.layers[2], 1.0)):
            initialise_linear(layer, gain, generator)

    def forward(self, inputs: Tensor, hidden: Hidden, episode_starts: Tensor | None = None) -> tuple[Tensor, Hidden]:
        """Return outputs [B, T, N], each from its own step alone, and the state as it came."""
        del episode_starts  # nothing is remembered that would have to be forgotten
        return self.layers(inputs), hidden


def spread_over(inputs: Tensor, resets: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return sequences with a reset step before each episode start, and where their own steps went.

    Args:
        inputs: [B, T, M].
        resets: int64 [B, T], number of resets in a row up to each step.
        most: the largest of them.

    Returns:
        [B, T + most, M + 2], with the two control features behind the others (reset, then hold), 0 elsewhere; and the
        row [B, 1] and position [B, T] at which each step stands.
    """
    batch, steps, _ = inputs.shape
    row = torch.arange(batch, device=inputs.device)[:, None]
    position = torch.arange(steps, device=inputs.device) + resets
    length = steps + most
    idle = torch.ones(batch, length, dtype=torch.bool, device=inputs.device)
    idle[row, position] = False
    after_end = torch.arange(length, device=inputs.device) > position[:, -1:]
    controls = torch.stack([idle & ~after_end, after_end], dim=-1).to(inputs.dtype)
    spread = inputs.new_zeros(batch, length, inputs.shape[-1]).index_put((row, position), inputs)
    return torch.cat([spread, controls], dim=-1), row, position


MEMORIES: Final = {"lstm": ResettingLSTM, "gru": ResettingGRU}
"""What remembers, by the names of `NetworkConfig.memory`."""


def initialise_linear(layer: nn.Module, gain: float, generator: torch.Generator | None) -> None:
    """Draw an orthogonal weight times `gain` (Saxe et al. 2014) for a linear layer, and set its bias to 0.

    Raises:
        TypeError: the module is no `torch.nn.Linear`.
    """
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"only linear layers can be initialised, not {type(layer).__name__}")
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
