"""The growth environment: networks trained step by step while a policy plants, blends and prunes seeds in them.

E episodes run side by side in one stack. A step executes one action per host, lets an epoch pass, trains every host
for one interval, measures it on the validation part with and without its seeds, and rewards what that changed; the
reward of an action is therefore measured after the action had its effect, the last one's too. Episodes end together
after T steps, which is a true end. The environment does not know the policy; actions and observations live on the CPU,
only the networks on the device.
"""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.growth.action_space import growth_action_space
from sightline.tamiyo_policy.growth.budget import Budget
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.governor import GovernorState, Panic, govern, preflight, remember_fossils
from sightline.tamiyo_policy.growth.masks import legality_masks
from sightline.tamiyo_policy.growth.networks import GrowingNetworks, Snapshots
from sightline.tamiyo_policy.growth.observation import HostSignals, ObservationLayout, observe
from sightline.tamiyo_policy.growth.records import GrowthInfo, GrowthObservation, GrowthStep
from sightline.tamiyo_policy.growth.rewards import (
    effective_parameters,
    final_accuracy,
    growth_potential,
    growth_reward,
    growth_score,
    reference_sizes,
)
from sightline.tamiyo_policy.growth.shaped_reward import ShapedStep, shaped_reward
from sightline.tamiyo_policy.hosts.lifecycle import (
    OP,
    SLOT,
    AppliedOperations,
    GradientReading,
    apply_operations,
    gradient_ratio,
    record_gradients,
    record_measurements,
    tick,
)
from sightline.tamiyo_policy.hosts.measurement import HostMeasurement, measure_hosts, measure_shapley, seed_setting
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage
from sightline.tamiyo_policy.hosts.training import TrainingReport
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace


class NetworksEnvironment:
    """E growing networks of any kind as one vectorised environment.

    Args:
        networks: what is grown.
        snapshots: what the governor takes them back to.
        config: the rules; of `training` the number of steps alone.
        counterfactuals: whether contributions, gains and interactions are measured; else they are 0, which is faster.

    Attributes:
        config: the rules.
        num_envs, num_slots: E and K.
        action_space: the eight heads.
        layout: the columns of observations.
        slots: [E, K], the seeds' states; replaced at every step, never changed in place.
        signals: [E], what is known of the hosts.
    """

    def __init__(
        self,
        networks: GrowingNetworks,
        snapshots: Snapshots,
        *,
        config: GrowthConfig | None = None,
        counterfactuals: bool = True,
    ) -> None:
        self.config = config or GrowthConfig()
        self.num_envs = networks.num_networks
        self._counterfactuals = counterfactuals
        self.num_slots = networks.num_slots
        self.action_space: FactoredActionSpace = growth_action_space(self.num_slots)
        self.layout = ObservationLayout.named(self.config.layout, self.num_slots)
        self._training = networks
        self._snapshots = snapshots
        self._budget = Budget(networks.prices, self.num_envs)
        self._families = [networks.families[0]] * self.num_envs
        self.slots = SlotStates.empty(self.num_envs, self.num_slots)
        self.signals = HostSignals.start(self.num_envs)
        self._governor = GovernorState.start(self.num_envs, self.config.governor)
        self._gain = torch.zeros(self.num_envs)
        self._score = torch.zeros(self.num_envs)
        self._time = self.config.training.steps

    @property
    def families(self) -> tuple[str, ...]:
        """The host family of each environment, which no observation shows."""
        return tuple(self._families)

    def reset(self, seeds: Sequence[int], families: Sequence[str]) -> GrowthObservation:
        """Begin E episodes with fresh hosts.

        Args:
            seeds: E non-negative integers; a seed fixes host, order of samples and birth of seeds.
            families: E names of the host's families.

        Raises:
            ValueError: the number of seeds or families is not E, or a family does not exist.
        """
        self._training.reset(seeds, families)
        self._budget.start(self._training.allowances())
        self._families = list(families)
        self.slots = SlotStates.empty(self.num_envs, self.num_slots)
        self.signals = HostSignals.start(self.num_envs)
        self._governor = GovernorState.start(self.num_envs, self.config.governor)
        self._time = 0
        self._snapshots.start()
        measured = self._measure()
        self.signals = self.signals.record(loss=measured.loss, accuracy=measured.accuracy)
        self._gain = measured.gain
        self._score = self._current_score(measured.accuracy)
        return self.observe()

    def observe(self) -> GrowthObservation:
        """Return what a policy sees of the present state."""
        features, blueprint_indices = observe(
            self.slots,
            self.signals,
            self.layout,
            horizon=self.config.training.steps,
            gamma=self.config.reward.gamma,
        )
        masks = legality_masks(self.slots, self.config.lifecycle, self._budget.affordable())
        return GrowthObservation(features, blueprint_indices, masks)

    def step(self, actions: Tensor) -> GrowthStep:
        """Execute one action in every host and train all hosts for one interval.

        Args:
            actions: int64 [E, 8] on the CPU, columns as in `action_space`; an impossible one is executed as WAIT.

        Raises:
            RuntimeError: the episode is over, or was never begun.
            ValueError: actions of another shape or type.
        """
        if self._time >= self.config.training.steps:
            raise RuntimeError("the episode is over: call reset(seeds, families) before step(actions)")
        if actions.shape != (self.num_envs, len(self.action_space.names)) or actions.dtype != torch.int64:
            raise ValueError(
                f"actions must be int64 [{self.num_envs}, {len(self.action_space.names)}], "
                f"got {actions.dtype} {list(actions.shape)}"
            )
        before, gain_before, signals_before = self.slots, self._gain, self.signals
        applied = self._operate(actions)
        report = self._train_interval()
        self._time += 1
        measured = self._measure()
        self._record(measured)
        judged = self.slots
        panic = self._govern(measured)
        self.signals = self.signals.acted(op=applied.effective_op, success=applied.success)
        over = self._time == self.config.training.steps
        terminated = (panic != Panic.NONE) | over
        score = self._current_score(final_accuracy(self.signals, self.config.reward) if over else measured.accuracy)
        if self.config.reward_mode == "score":
            reward = self._score_reward(before, signals_before, score, terminated)
        else:
            gains = gain_before, measured.gain
            reward = self._shaped_reward(
                before, judged, actions, applied.effective_op, measured.accuracy, gains, terminated
            )
        reward = torch.where(panic != Panic.NONE, self.config.governor.penalty, reward)
        if bool((panic != Panic.NONE).any()):
            score = self._after_rollback(panic != Panic.NONE, score)
        self._score = score
        info = GrowthInfo(
            accuracy=self.signals.accuracy_history[:, -1],
            loss=self.signals.loss_history[:, -1],
            training_loss=report.loss,
            score=score,
            parameters=effective_parameters(self.slots, self._sizes(self.slots)),
            gain=self._gain,
            contribution=measured.contribution,
            shapley=measure_shapley(self._training, self.slots)
            if over and self._counterfactuals
            else torch.full_like(measured.contribution, torch.nan),
            effective_op=applied.effective_op,
            panic=panic,
        )
        return GrowthStep(self.observe(), reward, terminated, torch.zeros_like(terminated), info)

    def test_accuracy(self) -> NDArray[np.float64]:
        """Return [E] accuracies in percent of the present hosts on the test part, which only final reports may read."""
        return self._training.test_accuracy(seed_setting(self.slots))

    def score(self, accuracy: Tensor, parameters: Tensor) -> Tensor:
        """Return J in points of the present hosts, [E].

        Args:
            accuracy: float [E], in percent.
            parameters: float [E], of the seeds.
        """
        return growth_score(accuracy, parameters, self._reference(), rent=self.config.reward.rent)

    def _operate(self, actions: Tensor) -> AppliedOperations:
        """Execute the actions and let an epoch pass."""
        loss, accuracy = self.signals.loss_history[:, -1], self.signals.accuracy_history[:, -1]
        applied = apply_operations(
            self.slots,
            actions,
            self.config.lifecycle,
            selectable_blueprints=self._budget.affordable(),
            accuracy=accuracy,
            gain=self._gain,
            permitted=preflight(self._governor, actions[:, OP], loss, accuracy),
        )
        self._budget.buy(applied.germinated, applied.states.blueprint)
        for network, slot in applied.germinated.nonzero().tolist():
            self._training.plant(network, slot, int(applied.states.blueprint[network, slot]), self._time)
        self._snapshots.keep_fossils(applied.states.in_stage(Stage.FOSSILIZED))
        self._governor = remember_fossils(self._snapshots, self._governor, applied.fossilized)
        self.slots = tick(applied.states, self.config.lifecycle)
        return applied

    def _train_interval(self) -> TrainingReport:
        """Train, and take in the gradients."""
        report = self._training.interval(seed_setting(self.slots), self.slots.prune_pending.numpy(), self._time)
        ratio = gradient_ratio(
            report.seed_norm,
            report.host_norm[:, None],
            self._sizes(self.slots),
            torch.from_numpy(self._training.host_sizes())[:, None],
            self.slots.gradient_ratio,
        )
        learning = self.slots.in_forward & ~self.slots.prune_pending
        self.slots = record_gradients(self.slots, GradientReading(report.seed_norm, ratio, learning))
        return report

    def _measure(self) -> HostMeasurement:
        return measure_hosts(self._training, self.slots, counterfactuals=self._counterfactuals)

    def _record(self, measured: HostMeasurement) -> None:
        """Take in a validation."""
        self.signals = self.signals.record(loss=measured.loss, accuracy=measured.accuracy)
        self.slots = record_measurements(
            self.slots,
            accuracy=measured.accuracy,
            gain=measured.gain,
            contribution=measured.contribution,
            interaction=measured.interaction,
            measured=~measured.contribution.isnan(),
        )
        self._gain = measured.gain

    def _govern(self, measured: HostMeasurement) -> Tensor:
        """Roll lost hosts back; panic int64 [E]."""
        outcome = govern(
            self._snapshots,
            self._governor,
            self.slots,
            measured.loss,
            self.config.governor,
            num_classes=self._training.num_classes,
        )
        self._governor, self.slots = outcome.governor, outcome.slots
        return outcome.panic

    def _score_reward(
        self, before: SlotStates, signals_before: HostSignals, score: Tensor, terminated: Tensor
    ) -> Tensor:
        """Return the reward of mode 'score', [E]."""
        reward = self.config.reward
        return growth_reward(
            reward,
            score_before=self._score,
            score_after=score,
            potential_before=growth_potential(before, signals_before.loss_history[:, -1], reward),
            potential_after=growth_potential(self.slots, self.signals.loss_history[:, -1], reward),
            terminal=terminated,
        )

    def _shaped_reward(
        self,
        before: SlotStates,
        after: SlotStates,
        actions: Tensor,
        effective_op: Tensor,
        accuracy: Tensor,
        gains: tuple[Tensor, Tensor],
        terminated: Tensor,
    ) -> Tensor:
        """Return the reward of mode 'shaped', [E]; `gains` are those before and after the step."""
        step = ShapedStep(
            before=before,
            after=after,
            slot=actions[:, SLOT],
            wanted_op=actions[:, OP],
            effective_op=effective_op,
            epoch=self.signals.epoch - 1,
            accuracy=accuracy,
            gain_before=gains[0],
            gain_after=gains[1],
            parameters=torch.maximum(self._sizes(before), self._sizes(after)),
            host_parameters=self._reference(),
            terminal=terminated,
        )
        return shaped_reward(step, self.config.shaped).total

    def _after_rollback(self, panicked: Tensor, score: Tensor) -> Tensor:
        """Measure restored hosts, so that neither observation nor next reward starts from the state that was left."""
        measured = self._measure()

        def last(history: Tensor, value: Tensor) -> Tensor:
            history = history.clone()
            history[:, -1] = torch.where(panicked, value, history[:, -1])
            return history

        known = {field.name: getattr(self.signals, field.name) for field in fields(self.signals)}
        known["loss_history"] = last(self.signals.loss_history, measured.loss)
        known["accuracy_history"] = last(self.signals.accuracy_history, measured.accuracy)
        self.signals = HostSignals(**known)
        self._gain = torch.where(panicked, measured.gain, self._gain)
        return torch.where(panicked, self._current_score(measured.accuracy), score)

    def _current_score(self, accuracy: Tensor) -> Tensor:
        """Return J in points, [E]."""
        return self.score(accuracy, effective_parameters(self.slots, self._sizes(self.slots)))

    def _reference(self) -> Tensor:
        """Return float32 [E], parameters by which rent is measured."""
        return reference_sizes(self._training.host_sizes(), self.config.reference_parameters)

    def _sizes(self, slots: SlotStates) -> Tensor:
        """Return int64 [E, K], parameters of the module in each slot."""
        return torch.from_numpy(self._training.seed_sizes(slots.blueprint.numpy(), slots.operator.numpy()))
