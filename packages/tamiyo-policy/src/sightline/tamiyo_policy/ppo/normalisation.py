"""Running means and deviations for values, observations and rewards, all frozen while a rollout is collected.

Each normaliser is read with one method and moved with `update`, called between rollouts. All state lives in buffers of
modules, so `state_dict` carries it into checkpoints. Knows nothing about networks but the last layer of a critic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOMENTUM = 0.99
"""Share of the old statistics that an update keeps once enough updates were made."""

OBSERVATION_BOUND = 10.0
REWARD_BOUND = 10.0
DEVIATION_FLOOR = 1e-6


class RunningMoments(nn.Module):
    """Mean and variance of a stream of batches: a plain average of the first 1 / (1 - momentum) batches, then an EMA.

    Args:
        size: number of features; every one has its own mean and variance.
    """

    mean: Tensor
    variance: Tensor
    updates: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each feature, [size], at least 1e-6."""
        return self.variance.sqrt().clamp(min=DEVIATION_FLOOR)

    @torch.no_grad()
    def update(self, batch: Tensor) -> None:
        """Move the moments towards those of a batch [N, size]; an empty batch changes nothing.

        The variance is that of the mixture of both distributions (law of total variance), so a mean that moves counts
        as spread.
        """
        if len(batch) == 0:
            return
        self.updates += 1
        rate = (1.0 / self.updates).clamp(min=1.0 - MOMENTUM)
        shift = batch.mean(dim=0) - self.mean
        self.variance.mul_(1 - rate).add_(rate * batch.var(dim=0, correction=0))
        # The very first batch replaces the placeholders; only later ones are a mixture.
        self.variance.add_(rate * (1 - rate) * shift.square())
        self.mean.add_(rate * shift)


class ValueNormaliser(nn.Module):
    """PopArt (van Hasselt et al. 2016): a critic learns normalised returns, and a new scale leaves its outputs alone.

    The critic's output v stands for the value `deviation * v + mean`. The scale moves once per round, before the
    round's first gradient step, and the critic's last layer is rewritten so that every value stays what it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moments = RunningMoments(1)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of returns, [1]; the unit in which advantages are measured."""
        return self.moments.deviation

    @property
    def initialised(self) -> bool:
        """Whether there is a scale already."""
        return int(self.moments.updates) > 0

    def denormalise(self, outputs: Tensor) -> Tensor:
        """Return values in the unit of rewards, from the critic's outputs of any shape."""
        return outputs * self.moments.deviation + self.moments.mean

    def normalise(self, returns: Tensor) -> Tensor:
        """Return targets for the critic's outputs, from returns of any shape."""
        return (returns - self.moments.mean) / self.moments.deviation

    def initialise(self, returns: Tensor) -> None:
        """Take the scale from the first returns [N]; later calls change nothing.

        The critic is not rewritten: an untrained one is taken to speak in normalised units from the start, so that the
        first update, too, is the same whatever the unit of rewards.
        """
        if not self.initialised:
            self.moments.update(returns.reshape(-1, 1))

    @torch.no_grad()
    def update(self, returns: Tensor, output_layer: nn.Linear) -> None:
        """Move the scale towards returns [N] and rewrite `output_layer` so that denormalised values stay the same."""
        old_mean, old_deviation = self.moments.mean.clone(), self.moments.deviation
        self.moments.update(returns.reshape(-1, 1))
        scale = old_deviation / self.moments.deviation
        output_layer.weight.mul_(scale)
        output_layer.bias.mul_(scale).add_((old_mean - self.moments.mean) / self.moments.deviation)


class ObservationNormaliser(nn.Module):
    """Standardises the continuous features of observations; flags, one-hot codes and sentinels pass unchanged.

    Args:
        continuous: [D] bool, which features are continuous.
    """

    continuous: Tensor

    def __init__(self, continuous: Tensor) -> None:
        super().__init__()
        self.register_buffer("continuous", continuous.to(torch.bool))
        self.moments = RunningMoments(len(continuous))

    def normalise(self, observations: Tensor) -> Tensor:
        """Return observations [..., D] with continuous features standardised and clipped to +-10."""
        if int(self.moments.updates) == 0:
            return observations
        standard = (observations - self.moments.mean) / self.moments.deviation
        return torch.where(self.continuous, standard.clamp(-OBSERVATION_BOUND, OBSERVATION_BOUND), observations)

    def update(self, observations: Tensor) -> None:
        """Learn from the raw observations [N, D] of a finished round."""
        self.moments.update(observations)


class RewardScaler(nn.Module):
    """Divides all rewards of a round by one standard deviation of discounted returns and clips them to +-10."""

    def __init__(self) -> None:
        super().__init__()
        self.moments = RunningMoments(1)

    def scale(self, rewards: Tensor, returns: Tensor) -> Tensor:
        """Return rewards of a finished round, scaled by what all rounds up to this one have shown.

        Args:
            rewards: any shape.
            returns: [N], discounted sums of those rewards, which move the scale first.
        """
        self.moments.update(returns.reshape(-1, 1))
        return (rewards / self.moments.deviation).clamp(-REWARD_BOUND, REWARD_BOUND)
