"""The plain training loop: adapters on a causal language model, one loss per way of teaching.

The default on a CPU. Equal examples, seed and number of threads give equal bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.teachability.ledger import Ledger
from sightline.teachability.training._extra import torch
from sightline.teachability.training.adapters import AdapterSlot, adapter_digest
from sightline.teachability.training.encoding import Encoded, EncodeFn
from sightline.teachability.training.policy import CausalLanguagePolicy, ScoreFn, plain_scores, scaled
from sightline.teachability.training_records import Example, LearnerConfig, TrainingReport


class FittedAdapter:
    """A trained student; several can be used in turn, each puts its adapter in place first.

    Attributes:
        policy: the student.
        report: what the training did.
    """

    def __init__(self, slot: AdapterSlot, adapter: dict[str, Any], policy: Any, report: TrainingReport) -> None:
        self._slot = slot
        self._adapter = adapter
        self.policy = policy
        self.report = report

    def save(self, folder: Path) -> None:
        """Write the adapter into a folder, whole or not at all."""
        self._slot.write(self._adapter, folder)


class LoRALearner:
    """`Learner` that trains low-rank adapters with its own loop.

    Args:
        model: a Hugging Face causal language model.
        encode: makes tokens of a view, for the policies of the trained students.
        config: settings.
        name: name of the base model, for tables and fingerprints.
        score: computes log-probabilities, for training and acting alike.
        batch_size: prompts that share a forward pass when the student acts.
        ledger: where tokens are counted.
    """

    def __init__(
        self,
        model: Any,
        encode: EncodeFn,
        config: LearnerConfig,
        *,
        name: str = "student",
        score: ScoreFn = plain_scores,
        batch_size: int = 8,
        ledger: Ledger | None = None,
    ) -> None:
        self.slot = AdapterSlot(model, config)
        self.config = config
        self.ledger = ledger or Ledger()
        self._encode = encode
        self._name = name
        self._score = score
        self._batch_size = batch_size

    @property
    def base(self) -> CausalLanguagePolicy:
        """The student before any training."""
        return self.policy(self.slot.empty(), self._name)

    def policy(self, adapter: dict[str, Any], name: str) -> CausalLanguagePolicy:
        """Return the student with an adapter."""
        digest = adapter_digest(adapter)
        return CausalLanguagePolicy(
            self.slot.model,
            self._encode,
            name=name,
            fingerprint=f"{self._name} {self.slot.base} {digest}",
            temperature=self.config.temperature,
            length_normalised=self.config.length_normalised,
            score=self._score,
            batch_size=self._batch_size,
            prepare=lambda: self.slot.put(adapter, digest),
        )

    def load(self, folder: Path, name: str) -> CausalLanguagePolicy:
        """Return the student with an adapter that was written."""
        return self.policy(self.slot.read(folder), name)

    def fit(self, examples: Sequence[Example], *, seed: int, config: LearnerConfig | None = None) -> FittedAdapter:
        """Train a new adapter.

        Args:
            examples: what to learn.
            seed: seed of the adapter and the batches.
            config: settings in place of the learner's; rank and alpha must be the same.

        Raises:
            ValueError: there are no examples, or the rank differs.
        """
        settings = config or self.config
        if not examples:
            raise ValueError("there is nothing to learn: no examples")
        if (settings.rank, settings.alpha) != (self.config.rank, self.config.alpha):
            raise ValueError("rank and alpha are those that the learner was made with")
        adapter = self.slot.draw(seed)
        before = adapter_digest(adapter)
        self.slot.put(adapter, before)
        self.slot.touched()
        tracked = [example for example in examples if example.source == "correction"]
        trace: list[dict[str, float]] = []
        optimiser = torch.optim.AdamW(
            list(self.slot.parameters.values()), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        losses: list[list[float]] = []
        for order in epochs(len(examples), settings.epochs, seed):
            trace.append(self._confidence(tracked, settings))
            losses.append([])
            for start in range(0, len(order), settings.batch_size):
                batch = [examples[i] for i in order[start : start + settings.batch_size]]
                losses[-1].append(self._step(batch, settings, optimiser))
        trace.append(self._confidence(tracked, settings))
        after = self.slot.take()
        read = sum(example.tokens for example in examples) * settings.epochs
        self.ledger.tokens += read
        report = TrainingReport(
            seed=seed,
            examples=dict(Counter(example.source for example in examples)),
            steps=sum(map(len, losses)),
            tokens=read,
            supervised_share=supervised_share(examples),
            first_loss=losses[0][0],
            losses=tuple(float(np.mean(epoch)) for epoch in losses),
            confidence={key: tuple(point[key] for point in trace) for key in trace[0]},
            adapter_before=before,
            adapter_after=adapter_digest(after),
            base=self.slot.base,
        )
        return FittedAdapter(self.slot, after, self.policy(after, f"{self._name}+{report.adapter_after[:6]}"), report)

    def _step(self, batch: Sequence[Example], settings: LearnerConfig, optimiser: Any) -> float:
        loss = batch_loss(self.slot.model, batch, settings, self._score)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.slot.parameters.values()), settings.clip)
        optimiser.step()
        optimiser.zero_grad()
        return float(loss.detach())

    def _confidence(self, examples: Sequence[Example], settings: LearnerConfig) -> dict[str, float]:
        if settings.loss == "tokens" or len(examples) < 2:  # a single one is followed by its own first loss
            return {}
        found = {}
        with torch.inference_mode():
            for start in range(0, len(examples), settings.batch_size):
                batch = examples[start : start + settings.batch_size]
                for example, logs in zip(
                    batch, log_distributions(self.slot.model, batch, settings, self._score), strict=True
                ):
                    found[example.snapshot_id] = float(logs[example.chosen].exp())
        return found


def epochs(count: int, number: int, seed: int) -> list[list[int]]:
    """Return the order of the examples in every epoch."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    return [generator.permutation(count).tolist() for _ in range(number)]


def supervised_share(examples: Sequence[Example]) -> float:
    """Return the share of tokens of prompt and chosen action that stand in the loss: those of the action."""
    return sum(len(example.completion_ids) for example in examples) / sum(example.tokens for example in examples)


def log_distributions(
    model: Any, batch: Sequence[Example], config: LearnerConfig, score: ScoreFn
) -> list[torch.Tensor]:
    """Return the log of the acting distribution at each example, [candidates] each."""
    encoded = [encoded_example(example) for example in batch]
    return [
        scaled(sums, one, temperature=config.temperature, length_normalised=config.length_normalised).log_softmax(-1)
        for sums, one in zip(score(model, encoded), encoded, strict=True)
    ]


def batch_loss(model: Any, batch: Sequence[Example], config: LearnerConfig, score: ScoreFn) -> torch.Tensor:
    """Return the loss of a batch, in nats: per decision for `candidates`, per token of the action for `tokens`."""
    weights = torch.tensor([example.weight for example in batch])
    if config.loss == "tokens":
        alone = [Encoded(list(example.prompt_ids), [list(example.completion_ids)]) for example in batch]
        sums = torch.stack([sums[0] for sums in score(model, alone)])
        lengths = torch.tensor([len(example.completion_ids) for example in batch])
        weights, lengths = weights.to(sums.device), lengths.to(sums.device)
        return -(weights * sums).sum() / (weights * lengths).sum()
    losses = [
        example_loss(logs, example, config.anchor)
        for logs, example in zip(log_distributions(model, batch, config, score), batch, strict=True)
    ]
    stacked = torch.stack(losses)
    weights = weights.to(stacked.device)
    return (weights * stacked).sum() / weights.sum()


def example_loss(logs: torch.Tensor, example: Example, anchor: float) -> torch.Tensor:
    """Return the loss of one decision.

    Args:
        logs: [candidates] log-probabilities.
        example: what is learnt.
        anchor: weight of the divergence KL(target || student) on replay examples.
    """
    if example.source == "replay":
        loss = -logs[example.chosen]
        if example.target is not None and anchor > 0:
            target = torch.tensor(example.target, dtype=logs.dtype, device=logs.device)
            loss = loss + anchor * (torch.special.xlogy(target, target) - target * logs).sum()
        return loss
    if example.source == "correction" and example.format == "contrast":
        return -torch.nn.functional.logsigmoid(logs[example.chosen] - logs[example.rejected])
    if example.source == "correction" and example.format == "hint":
        target = torch.tensor(example.target, dtype=logs.dtype, device=logs.device)
        return -(target * logs).sum()
    return -logs[example.chosen]


def encoded_example(example: Example) -> Encoded:
    """Return an example's tokens as a prompt with candidates."""
    return Encoded(list(example.prompt_ids), [list(candidate) for candidate in example.candidates_ids])
