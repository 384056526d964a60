"""Proximal policy optimisation of a recurrent policy with factored actions, on whole rows of a rollout.

An update values all steps at once, checks that the network still gives the actions the log-probabilities they were
chosen with, estimates advantages, and then takes gradient steps on minibatches of environments, each row unrolled from
its first step. Knows nothing about environments, and of the network only `evaluate_actions` and the last layer of its
critic.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sightline.tamiyo_policy.policy.network import RecurrentActorCritic
from sightline.tamiyo_policy.policy.records import EvaluationOutput
from sightline.tamiyo_policy.ppo.advantages import discounted_sums, generalised_advantages, normalise_advantages
from sightline.tamiyo_policy.ppo.buffer import RolloutBuffer, Sequences
from sightline.tamiyo_policy.ppo.config import PPOConfig
from sightline.tamiyo_policy.ppo.flat_adam import FlatAdam
from sightline.tamiyo_policy.ppo.losses import explained_variance, policy_term, weighted_mean
from sightline.tamiyo_policy.ppo.normalisation import RewardScaler, ValueNormaliser

logger = logging.getLogger(__name__)

LOG_PROB_TOLERANCE = 1e-4
"""Largest difference between a stored and a recomputed log-probability that rounding explains."""

SLOT_TARGET_BOUND = 10.0

_MEASURED = ("states", "rewards", "bootstrap_values")
"""Fields that, as the values, spoil running statistics for good if they are not finite; such a rollout is skipped."""


class StaleRolloutError(RuntimeError):
    """The network no longer gives stored actions the log-probabilities they were chosen with."""


@dataclass(frozen=True)
class _Targets:
    """What an update aims at; [E, T] each but for the divisors, which are those of the whole rollout."""

    advantages: Tensor
    values: Tensor
    value_weights: Tensor
    policy_weights: Tensor
    head_divisors: Tensor
    value_divisor: Tensor
    choice_divisor: Tensor

    def rows(self, environments: Tensor | slice) -> _Targets:
        share = len(self.advantages[environments]) / len(self.advantages)
        divisors = {name: value * share for name, value in vars(self).items() if name.endswith(("divisor", "divisors"))}
        fields = {name: value[environments] for name, value in vars(self).items() if name not in divisors}
        return replace(self, **fields, **divisors)


class PPO:
    """Updates a network from rollouts; holds the optimiser, the scale of values, and the generator of minibatches.

    Args:
        network: policy and critic; its parameters are changed in place.
        config: settings.
        seed: seed of the order of environments in minibatches.

    Attributes:
        train_steps: updates that took at least one gradient step.
    """

    def __init__(self, network: RecurrentActorCritic, config: PPOConfig, *, seed: int) -> None:
        self.network = network
        self.config = config
        self.device = next(network.parameters()).device
        self.optimiser = FlatAdam(network, learning_rate=config.learning_rate, max_norm=config.max_gradient_norm)
        self.value_normaliser = ValueNormaliser().to(self.device)
        self.reward_scaler = RewardScaler().to(self.device)
        self.generator = torch.Generator().manual_seed(seed)
        *_, self._critic_output = (layer for layer in network.critic.modules() if isinstance(layer, nn.Linear))
        self.train_steps = 0

    def update(self, buffer: RolloutBuffer) -> dict[str, float]:
        """Learn from a full rollout.

        Args:
            buffer: filled with the network's present parameters.

        Returns:
            Metrics by name: losses, entropies, divergence, clip fractions by head, gradient norm, explained variance,
            statistics of advantages and returns, and how many gradient steps were taken and skipped.

        Raises:
            StaleRolloutError: stored and recomputed log-probabilities differ by more than 1e-4.
            ValueError: the rollout is not full.
        """
        batch = buffer.sequences()
        with torch.no_grad():
            output = self._evaluate(batch)
        measured = {name: getattr(batch, name) for name in _MEASURED} | {"values": output.value}
        broken = [
            _places(name, field, batch.valid) for name, field in measured.items() if not _finite(field, batch.valid)
        ]
        if broken:
            logger.warning("skipped an update: not finite in %s", "; ".join(broken))
            return {"gradient_steps": 0.0, "skipped_steps": float(self.config.epochs * self.config.minibatches)}
        metrics = self._check_log_probs(batch, output)
        targets, statistics = self._targets(batch, output.value)
        if self.config.autocast:
            batch = replace(batch, log_probs=self._reference_log_probs(batch))
        metrics |= statistics | self._optimise(batch, targets)
        self.train_steps += metrics["gradient_steps"] > 0
        return metrics

    def _optimise(self, batch: Sequences, targets: _Targets) -> dict[str, float]:
        """Take gradient steps over all epochs; return the means of what they report."""
        reports: list[dict[str, Tensor]] = []
        norms: list[float] = []
        skipped = 0
        stopped = False
        for _ in range(self.config.epochs):
            order = torch.randperm(len(batch.states), generator=self.generator).to(self.device)
            # Copied once in the order of the epoch, so that minibatches are views.
            shuffled, aims = batch.rows(order), targets.rows(order)
            # A minibatch has at least one whole row, so that few environments make few minibatches.
            for part in _parts(len(order), min(self.config.minibatches, len(order))):
                loss, report = self._loss(shuffled.rows(part), aims.rows(part))
                if not math.isfinite(loss.item()):
                    skipped += 1
                    continue
                if self._moved_too_far(report["divergence"]):
                    stopped = True
                    break
                norm = self.optimiser.step(loss)
                if not math.isfinite(norm):
                    logger.warning("skipped a gradient step: the gradient's norm is %s", norm)
                    skipped += 1
                    continue
                norms.append(norm)
                reports.append(report)
            if stopped:
                break
        counts = {"gradient_steps": float(len(reports)), "skipped_steps": float(skipped), "stopped": float(stopped)}
        if not reports:
            return counts
        names = list(reports[0])
        table = torch.stack([torch.stack([report[name].detach().float() for name in names]) for report in reports])
        means = dict(zip(names, table.mean(0).tolist(), strict=True))
        largest = names.index("largest_ratio")
        first_divergence = table[0, names.index("divergence")]
        extremes = {"largest_ratio": float(table[:, largest].max()), "first_divergence": float(first_divergence)}
        return counts | means | extremes | {"gradient_norm": math.fsum(norms) / len(norms)}

    def _moved_too_far(self, divergence: Tensor) -> bool:
        target = self.config.target_divergence
        return target is not None and divergence.item() > 1.5 * target

    def _evaluate(self, batch: Sequences) -> EvaluationOutput:
        return self.network.evaluate_actions(
            batch.states,
            batch.categories,
            batch.actions,
            masks=batch.masks,
            hidden=batch.initial_hidden,
            episode_starts=batch.episode_starts,
        )

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.config.autocast else nullcontext()

    def _check_log_probs(self, batch: Sequences, output: EvaluationOutput) -> dict[str, float]:
        """Return the largest difference of stored and recomputed log-probabilities, and the entropy of each head."""
        difference = (output.log_probs - batch.log_probs).abs()[batch.valid]
        difference = difference[difference.isfinite()]
        worst = float(difference.max()) if difference.numel() else 0.0
        if worst > LOG_PROB_TOLERANCE:
            raise StaleRolloutError(
                f"stored and recomputed log-probabilities differ by {worst:.2g}, more than {LOG_PROB_TOLERANCE}: the "
                "rollout was made with other parameters, masks, observations or recurrent states than the update reads"
            )
        entropies = output.head_entropies[batch.valid].mean(0).tolist()
        names = (f"entropy/{name}" for name in self.network.action_space.names)
        return {"log_prob_difference": worst, **dict(zip(names, entropies, strict=True))}

    @torch.no_grad()
    def _reference_log_probs(self, batch: Sequences) -> Tensor:
        """Return the log-probabilities in bfloat16, so that the first ratio is 1: [E, T, H].

        This autocast region ends before that of the gradient steps begins. Within a single one the first touch of a
        weight would cache a copy without a graph, and the weight would get no gradient.
        """
        with self._autocast():
            return self._evaluate(batch).log_probs.float()

    @torch.no_grad()
    def _targets(self, batch: Sequences, outputs: Tensor) -> tuple[_Targets, dict[str, float]]:
        """Return what to aim at, from the critic's outputs [E, T] before the update, and statistics of it."""
        config, scale = self.config, self.value_normaliser
        rewards, valid = batch.rewards, batch.valid
        endings = (batch.terminated, batch.truncated)
        if config.scale_rewards:
            sums = discounted_sums(rewards, *endings, gamma=config.gamma)
            rewards = self.reward_scaler.scale(rewards, sums[valid])
        if not scale.initialised:
            scale.initialise(discounted_sums(rewards, *endings, gamma=config.gamma)[valid])
        values = scale.denormalise(outputs)
        bootstrap_values = scale.denormalise(batch.bootstrap_values)
        advantages = generalised_advantages(
            rewards, values, *endings, bootstrap_values, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        returns = advantages + values
        scale.update(returns[valid], self._critic_output)
        learnable = batch.learnable
        policy_weights = (batch.relevance & learnable.unsqueeze(-1)).float()
        value_weights = torch.where(learnable, 1.0, config.forced_value_weight) * valid
        targets = _Targets(
            advantages=normalise_advantages(advantages / scale.deviation, learnable),
            values=scale.normalise(returns),
            value_weights=value_weights,
            policy_weights=policy_weights,
            head_divisors=policy_weights.sum((0, 1)),
            value_divisor=value_weights.sum(),
            choice_divisor=learnable.float().sum(),
        )
        spread = returns[valid].quantile(torch.tensor([0.1, 0.5, 0.9], device=self.device)).tolist()
        return targets, {
            "explained_variance": float(explained_variance(values[valid], returns[valid])),
            "advantage_mean": float(advantages[valid].mean()),
            "advantage_deviation": float(advantages[valid].std(correction=0)),
            "return_deviation": float(scale.deviation),
            **dict(zip(("return_p10", "return_p50", "return_p90"), spread, strict=True)),
            "forced_share": 1.0 - float(learnable.sum() / valid.sum()),
        }

    def _loss(self, batch: Sequences, targets: _Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective on some rows, in float32, and what to report about it."""
        config, names = self.config, self.network.action_space.names
        with self._autocast():
            output = self._evaluate(batch)
        log_probs, values, entropy = output.log_probs.float(), output.value.float(), output.entropy.float()
        policy = policy_term(
            log_probs,
            batch.log_probs,
            targets.advantages,
            targets.policy_weights,
            targets.head_divisors,
            config.clip_range,
            joint=config.ratio == "joint",
        )
        errors = (values - targets.values).square()
        value_loss = 0.5 * weighted_mean(errors, targets.value_weights, targets.value_divisor)
        mean_entropy = weighted_mean(entropy, batch.learnable.float(), targets.choice_divisor)
        loss = policy.loss + config.value_coefficient * value_loss - config.entropy_coefficient * mean_entropy
        report = {
            "policy_loss": policy.loss,
            "value_loss": value_loss,
            "entropy": mean_entropy,
            "divergence": policy.divergence,
            "largest_ratio": policy.largest_ratio,
        }
        if output.slot_predictions is not None and batch.slot_targets is not None:
            auxiliary_loss = self._auxiliary_loss(output.slot_predictions.float(), batch)
            loss = loss + config.auxiliary_coefficient * auxiliary_loss
            report["auxiliary_loss"] = auxiliary_loss
        groups = names if config.ratio == "head" else ("joint",)
        report |= {f"clip_fraction/{name}": part for name, part in zip(groups, policy.clip_fraction, strict=True)}
        if not math.isfinite(loss.item()):
            finite = (log_probs + batch.log_probs).isfinite().flatten(0, -2).all(0).tolist()
            broken = [f"log-probabilities of head {name!r}" for name, ok in zip(names, finite, strict=True) if not ok]
            logger.warning("skipped a gradient step: not finite in %s", ", ".join(broken) or "values or entropy")
        return loss, report

    def _auxiliary_loss(self, predictions: Tensor, batch: Sequences) -> Tensor:
        """Return the mean squared error of what is predicted for slots [B, T, K], where it was measured."""
        assert batch.slot_targets is not None
        known = batch.valid.unsqueeze(-1).expand_as(predictions)
        if batch.slot_targets_known is not None:
            known = known & batch.slot_targets_known
        wanted = batch.slot_targets.clamp(-SLOT_TARGET_BOUND, SLOT_TARGET_BOUND)
        return weighted_mean((predictions - wanted).square(), known.float(), known.float().sum())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimiser, scales, generator and counter; the network's parameters are its own affair."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "value_normaliser": self.value_normaliser.state_dict(),
            "reward_scaler": self.reward_scaler.state_dict(),
            "generator": self.generator.get_state(),
            "train_steps": self.train_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` returned, into an updater of a network of the same shape."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.value_normaliser.load_state_dict(state["value_normaliser"])
        self.reward_scaler.load_state_dict(state["reward_scaler"])
        self.generator.set_state(state["generator"])
        self.train_steps = int(state["train_steps"])


def _finite(field: Tensor, valid: Tensor) -> bool:
    """Return whether a field [E, T, ...] is finite at all valid steps."""
    return bool(field[valid].isfinite().all())


def _places(name: str, field: Tensor, valid: Tensor) -> str:
    """Return a field's name and where its first values are that are not finite."""
    wrong = ~field.isfinite().reshape(*field.shape[:2], -1).all(-1) & valid
    found = wrong.nonzero().tolist()
    some = ", ".join(f"environment {environment} at step {step}" for environment, step in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"{name} (of this rollout, {some}{more})"


def _parts(count: int, number: int) -> list[slice]:
    """Return `number` consecutive slices of `count` rows, of sizes that differ by at most one."""
    bounds = [count * index // number for index in range(number + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]
