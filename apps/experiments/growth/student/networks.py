"""The shop's student as what a growth environment grows: one network, three places, and compute cut into equal shares.

An interval is a share of the compute, not a number of steps: a student that has grown takes fewer steps in it. Whoever
trains to the last interval has therefore spent the same compute, to within one batch. Knows nothing about policies,
stages or rewards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.growth.student.examples import Decision, StudentData, best_actions
from experiments.growth.student.settings import PLACES, GrownStudentSettings
from sightline.agents.actors import candidate_log_probabilities
from sightline.agents.student import (
    Blend,
    Kind,
    Residual,
    batches_by_length,
    choose_precision,
    forward_flops,
    make_optimizer,
    make_student,
    student_loss,
    student_with_places,
)
from sightline.tamiyo_policy.hosts import ATTENTION, MLP_SMALL, Operator, SeedSetting, TrainingReport

FAMILY: Final = "student"
"""The one kind of network that there is."""
BLOCK, FEED_FORWARD = ATTENTION, MLP_SMALL
"""What a policy of token hosts knows that comes nearest: the module that mixes tokens, and the one that does not."""
TRAINING_FACTOR: Final = 3
"""Operations of a training step, as a multiple of those of its forward pass."""

_KINDS: Final[Mapping[int, Kind]] = {BLOCK: "block", FEED_FORWARD: "feed_forward"}
_AT_ONCE = 16


class Assessment(NamedTuple):
    """A student on decisions, one value each."""

    losses: NDArray[np.float64]
    """Cross-entropies of the targets in nats."""
    right: NDArray[np.bool_]
    """Whether the most probable candidate is a best action."""
    cost: int
    """Floating-point operations."""


class StudentNetworks:
    """One student with its data; E is 1.

    Attributes:
        compute: floating-point operations that may be spent in training.
        spent: those that were, by `forward_flops`; modules that only learn cost as much as others.
        looked: those of validations, which are not charged.
        last_cost: those of the last step.
        steps: optimiser steps so far.

    Args:
        data: what the student learns.
        settings: final size, training and compute.
        layers: blocks at the beginning.
    """

    def __init__(self, data: StudentData, settings: GrownStudentSettings, layers: int) -> None:
        self._data, self._settings = data, settings
        self._config = settings.student.model_copy(update={"layers": layers})
        self._behind = [round(layers * slot / (PLACES - 1)) for slot in range(PLACES)]
        self._precision = choose_precision(settings.student.precision)
        # As large as the student becomes, to know what steps at that size cost.
        self._final = make_student(settings.student, settings.student.vocabulary_size)
        self._begin(0)

    def _begin(self, seed: int) -> None:
        config = self._config.model_copy(update={"seed": seed})
        self._seed = seed
        self.model, self.places = student_with_places(config, config.vocabulary_size, self._behind)
        self.gates = nn.ModuleList(nn.Linear(config.width, 1) for _ in self.places)
        self._optimizer = make_optimizer([*self.model.parameters(), *self.gates.parameters()], config.weight_decay)
        self._of_places = [
            [*place.parameters(), *gate.parameters()] for place, gate in zip(self.places, self.gates, strict=True)
        ]
        planted = {id(parameter) for parameters in self._of_places for parameter in parameters}
        self._own = [parameter for parameter in self.model.parameters() if id(parameter) not in planted]
        wanted = self._order()
        self.compute = sum(self._cost(self._final, next(wanted)) for _ in range(config.steps))
        self._batches = self._order()
        self.spent, self.looked, self.last_cost, self.steps = 0, 0, 0, 0
        self._report = TrainingReport(torch.zeros(1), torch.zeros(1), torch.zeros(1, PLACES))

    def _order(self) -> Iterator[list[int]]:
        lengths = [packed.length for packed, _ in self._data.train]
        return batches_by_length(lengths, self._config.batch_size, np.random.default_rng(self._seed))

    def _cost(self, model: Any, batch: Sequence[int]) -> int:
        return TRAINING_FACTOR * forward_flops(model, [self._data.train[index][0] for index in batch])

    @property
    def num_networks(self) -> int:
        """One."""
        return 1

    @property
    def num_slots(self) -> int:
        """Number of places."""
        return PLACES

    @property
    def families(self) -> tuple[str, ...]:
        """The one kind of network that there is."""
        return (FAMILY,)

    @property
    def num_classes(self) -> float:
        """Candidates of a decision for validation: their geometric mean, as guessing loses the logarithm."""
        return math.exp(np.mean([math.log(len(target)) for _, target in self._data.validation]))

    @property
    def prices(self) -> Mapping[int, int]:
        """Parameters of a block, and of a feed-forward layer."""
        return {index: _size(self.places[0].module(kind)) for index, kind in _KINDS.items()}

    def allowances(self) -> NDArray[np.float64]:
        """Return [1], the parameters by which the student is smaller than the final size."""
        return np.array([float(self._settings.missing_blocks * self.prices[BLOCK])])

    def host_sizes(self) -> NDArray[np.int64]:
        """Return [1], parameters of the student as it begins."""
        return np.array([_size(self.model) - sum(_size(place) for place in self.places)])

    def seed_sizes(self, blueprint: NDArray[np.int64], operator: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [1, K], parameters of what stands in each place, with its gate where it has one."""
        gates = (self._config.width + 1) * (operator == Operator.GATE)
        table = np.zeros(max(self.prices) + 1, np.int64)
        table[list(self.prices)] = list(self.prices.values())
        return np.where(blueprint >= 0, table[np.maximum(blueprint, 0)] + gates, 0)

    @torch.inference_mode(mode=False)
    def reset(self, seeds: Sequence[int], families: Sequence[str]) -> None:
        """Begin anew with the student of a seed.

        Raises:
            ValueError: there is more than one seed, or another family.
        """
        if len(seeds) != 1 or list(families) != [FAMILY]:
            raise ValueError(f"one student is trained at a time, got seeds {list(seeds)} of families {list(families)}")
        self._begin(int(seeds[0]))

    @torch.inference_mode(mode=False)
    def plant(self, network: int, slot: int, blueprint: int, step: int) -> None:
        """Put a fresh block or feed-forward layer into a place; its draw depends on seed, place and step alone."""
        place = self.places[slot]
        (state,) = np.random.SeedSequence([self._seed, network, slot, step]).generate_state(1)
        place.plant(_KINDS[blueprint], torch.Generator().manual_seed(int(state)))
        for parameter in self.gates[slot].parameters():
            nn.init.zeros_(parameter)
        for parameter in self._of_places[slot]:
            self._optimizer.state.pop(parameter, None)

    @torch.inference_mode(mode=False)
    def interval(self, setting: SeedSetting, frozen: NDArray[np.bool_], step: int) -> TrainingReport:
        """Train until the interval's share of the compute is spent; the last batch may exceed it."""
        share = self.compute / self._settings.epochs
        with torch.enable_grad():
            self._arrange(setting, setting.alpha[0], setting.straight_through[0])
            done = []
            while self.spent < (step + 1) * share:
                done.append(self._step(next(self._batches), frozen[0]))
        if done:
            self._report = TrainingReport(*(torch.stack(column).mean(0) for column in zip(*done, strict=True)))
        return self._report

    def _step(self, batch: Sequence[int], frozen: NDArray[np.bool_]) -> TrainingReport:
        """Take one step of the optimiser; return its loss and norms of gradients."""
        config, optimizer = self._config, self._optimizer
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_at(self.spent / self.compute, self._settings.warmup_share)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision == "bfloat16"):
            loss = student_loss(self.model, [self._data.train[index] for index in batch], config.temperature)
        loss.backward()
        # Each apart, as in token hosts: what only learns must not shorten the student's own steps.
        norms = [nn.utils.clip_grad_norm_(parameters, config.clip) for parameters in (self._own, *self._of_places)]
        for stopped, parameters in zip(frozen, self._of_places, strict=True):
            for parameter in parameters if stopped else ():
                parameter.grad = None
        optimizer.step()
        optimizer.zero_grad()
        self.last_cost = self._cost(self.model, batch)
        self.spent += self.last_cost
        self.steps += 1
        return TrainingReport(loss.detach()[None], norms[0][None], torch.stack(norms[1:])[None])

    def forget_moments(self) -> None:
        """Let the optimiser begin anew."""
        self._optimizer.state.clear()

    def measure(
        self, setting: SeedSetting, wanted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return agreement in percent and loss in nats of wanted coalitions on the decisions for validation, [1, 8]."""
        tables = np.full((2, *wanted.shape), np.nan)
        for coalition in np.flatnonzero(wanted[0]):
            on = coalition >> np.arange(PLACES) & 1
            found = self._assess(setting, setting.alpha[0] * on, self._data.validation)
            tables[:, 0, coalition] = 100 * found.right.mean(), found.losses.mean()
            self.looked += found.cost
        return tables[0], tables[1]

    def test_accuracy(self, setting: SeedSetting) -> NDArray[np.float64]:
        """Return [1], agreement in percent on the test part."""
        return np.array([100 * self.test(setting).right.mean()])

    def test(self, setting: SeedSetting) -> Assessment:
        """Return how the student does on the test part, which only final reports may read."""
        return self._assess(setting, setting.alpha[0], self._data.test)

    def by_goal(self, values: NDArray[np.generic]) -> dict[int, float]:
        """Return the mean of values of the test part's decisions for each of its goals."""
        goals = np.array(self._data.goals)
        return {int(goal): float(values[goals == goal].mean()) for goal in np.unique(goals)}

    def _assess(self, setting: SeedSetting, alpha: NDArray[np.float64], decisions: Sequence[Decision]) -> Assessment:
        """Return how the student does with other alphas, and modules that only learn switched off."""
        self._arrange(setting, np.where(setting.straight_through[0], 0.0, alpha), np.zeros(PLACES, np.bool_))
        losses, right = np.zeros(len(decisions)), np.zeros(len(decisions), np.bool_)
        cost = 0
        order = sorted(range(len(decisions)), key=lambda index: decisions[index][0].length)
        for start in range(0, len(order), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            packed = [decisions[index][0] for index in part]
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bfloat16"):
                sums = candidate_log_probabilities(self.model, packed)
            cost += forward_flops(self.model, packed)
            for index, of_candidates in zip(part, sums, strict=True):
                prompt, target = decisions[index]
                scores = of_candidates / prompt.lengths / self._config.temperature
                losses[index] = float(scores.logsumexp(0) - (target * scores).sum())
                right[index] = bool(best_actions(target)[scores.argmax()])
        return Assessment(losses, right, cost)

    def _arrange(self, setting: SeedSetting, alpha: NDArray[np.float64], through: NDArray[np.bool_]) -> None:
        """Let every place hold what the setting says, with this share of it."""
        columns = zip(self.places, self.gates, setting.blueprint[0], alpha, setting.operator[0], through, strict=True)
        for place, gate, blueprint, share, operator, learns in columns:
            used = blueprint >= 0 and (learns or share > 0)
            place.holds = _KINDS[int(blueprint)] if used else None
            place.blend = blending(float(share), Operator(int(operator)), gate, learns=bool(learns))


def blending(share: float, operator: Operator, gate: nn.Module, *, learns: bool) -> Blend:
    """Return how a module's residual enters the student, as in token hosts: r, x tanh(r) or g(x) r, times its share.

    A gate reads one token, as a student must not see what comes after it; in token hosts it reads their mean.

    Args:
        share: alpha of the module.
        operator: what is made of its residual.
        gate: g before its sigmoid, which turns [B, T, D] into [B, T, 1].
        learns: whether the module has no effect, but the gradient that it would have with all of its share.
    """

    def blend(hidden: Tensor, residual: Residual) -> Tensor:
        read = hidden.detach() if learns else hidden
        found = residual(read)
        if operator == Operator.MULTIPLY:
            found = read * torch.tanh(found)
        elif operator == Operator.GATE:
            found = torch.sigmoid(gate(read)) * found
        return hidden + (found - found.detach() if learns else share * found)

    return blend


def rate_at(spent: float, warmup: float) -> float:
    """Return the share of the peak learning rate after a share of the compute: a linear rise, then a linear fall."""
    return (spent + 1e-3) / (warmup + 1e-3) if spent < warmup else max(1 - spent, 0.0) / (1 - warmup)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class StudentSnapshot:
    """The last good state of a student, for the governor; `where` is bool [1]."""

    def __init__(self, networks: StudentNetworks) -> None:
        self._networks = networks
        self._kept: list[Tensor] = []

    def _tensors(self) -> list[Tensor]:
        return [*self._networks.model.state_dict().values(), *self._networks.gates.state_dict().values()]

    def start(self) -> None:
        """Remember the student as it is."""
        self._kept = [tensor.clone() for tensor in self._tensors()]

    def keep_fossils(self, fossils: Tensor) -> None:
        """Do nothing: what is no fossil is remembered too, and pruned by whoever goes back."""

    def take_snapshot(self, where: Tensor) -> None:
        """Remember the student in place of what was remembered before."""
        if bool(where[0]):
            self.start()

    @torch.no_grad()
    def restore_snapshot(self, where: Tensor) -> None:
        """Go back to what is remembered."""
        for tensor, kept in zip(self._tensors(), self._kept, strict=True) if bool(where[0]) else ():
            tensor.copy_(kept)

    def clear_optimizers(self, where: Tensor) -> None:
        """Forget the optimiser's moments."""
        if bool(where[0]):
            self._networks.forget_moments()
