"""Training of the state model to predict the type of the demonstrator's next action from the episode so far.

Every episode is one sequence, so a single GRU pass yields the predictions after all of its observations.
This module knows nothing of environments or retrieval.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from sightline.agents.state.config import NextActionTrainingConfig, StateModelConfig
from sightline.agents.state.model import EventBatch, RecurrentStateModel
from sightline.agents.state.records import NextActionMetrics, NextActionResult
from sightline.agents.trajectory import Trajectory

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.retrieval import TextEncoder

logger = logging.getLogger(__name__)

_NO_LABEL = -100


def train_next_action(
    trajectories: Sequence[Trajectory],
    encoder: TextEncoder,
    grammar: TaskGrammar,
    model_config: StateModelConfig,
    config: NextActionTrainingConfig,
    *,
    device: torch.device | str = "cpu",
) -> NextActionResult:
    """Train a state model on demonstrations.

    The label of an observation is the type of `expert_action`, or of `action` where no expert was asked; the
    events hold the actions that were executed. Episodes of one goal are never divided between training and held-out.
    The same arguments give the same result on one machine.

    Args:
        trajectories: episodes; those without steps are left out.
        encoder: frozen text encoder; each distinct text is encoded once.
        grammar: which types of action there are.
        model_config: shape of the model; the encoder's name and the action types are added to it.
        config: length and pace of the training.
        device: device to train on.

    Raises:
        ValueError: the episodes have fewer than two goals, so that none can be held out.
    """
    episodes = [trajectory for trajectory in trajectories if trajectory.steps]
    generator = torch.Generator().manual_seed(config.seed)
    training_rows, validation_rows = _split(episodes, config.validation_fraction, generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = RecurrentStateModel(
            model_config.model_copy(
                update={"text_encoder": encoder.name, "action_types": tuple(map(str, grammar.action_types))}
            )
        )
    events = model.encode_events(encoder, [episode.events(len(episode.steps) - 1) for episode in episodes])
    examples = _Examples(events, _labels(episodes, grammar))
    majority_accuracy = _majority_class_accuracy(examples.labels[training_rows], examples.labels[validation_rows])

    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    metrics: list[NextActionMetrics] = []
    best_epoch, best_weights = 0, {}
    for epoch in range(1, config.epochs + 1):
        shuffled = training_rows[torch.randperm(len(training_rows), generator=generator)]
        loss = _train_epoch(model, optimizer, examples.batches(shuffled, config.batch_size), config.gradient_clip)
        model_accuracy, baseline_accuracy = _accuracies(model, examples.batches(validation_rows, config.batch_size))
        metrics.append(NextActionMetrics(epoch, loss, model_accuracy, baseline_accuracy, majority_accuracy))
        told = ", ".join(f"{name} {value:.3f}" for name, value in asdict(metrics[-1]).items() if name != "epoch")
        logger.info("epoch %d: %s", epoch, told)
        if epoch == 1 or model_accuracy > metrics[best_epoch - 1].model_acc:
            best_epoch = epoch
            best_weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    model.to("cpu").load_state_dict(best_weights)
    return NextActionResult(model.eval(), tuple(metrics), best_epoch)


@dataclass(frozen=True)
class _Examples:
    """Episodes with labels: int64 [B, T], `_NO_LABEL` where there is nothing to predict."""

    events: EventBatch
    labels: Tensor

    def batches(self, rows: Tensor, size: int) -> Iterator[_Examples]:
        for chosen in rows.split(size):
            events = self.events.select(chosen)
            yield _Examples(events, self.labels[chosen, : events.kinds.shape[1]])

    def to(self, device: torch.device) -> _Examples:
        return _Examples(self.events.to(device), self.labels.to(device))


def _split(episodes: Sequence[Trajectory], fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the rows of the training and of the held-out episodes, divided by goal."""
    goals = sorted({episode.goal for episode in episodes})
    if len(goals) < 2:
        raise ValueError(f"next-action training needs episodes of at least 2 goals to hold one out, not {len(goals)}")
    count = min(max(1, round(fraction * len(goals))), len(goals) - 1)
    held_out = {goals[i] for i in torch.randperm(len(goals), generator=generator)[:count].tolist()}
    is_held_out = torch.tensor([episode.goal in held_out for episode in episodes])
    return torch.nonzero(~is_held_out)[:, 0], torch.nonzero(is_held_out)[:, 0]


def _labels(episodes: Sequence[Trajectory], grammar: TaskGrammar) -> Tensor:
    """Return int64 [B, T]: the class at every observation, which are the even events, and `_NO_LABEL` elsewhere."""
    class_of = {name: i for i, name in enumerate(grammar.action_types)}
    longest = max(len(episode.steps) for episode in episodes)
    labels = torch.full((len(episodes), 2 * longest - 1), _NO_LABEL)
    for row, episode in enumerate(episodes):
        classes = [class_of[grammar.action_type(step.expert_action or step.action)] for step in episode.steps]
        labels[row, : 2 * len(classes) : 2] = torch.tensor(classes)
    return labels


def _majority_class_accuracy(training_labels: Tensor, validation_labels: Tensor) -> float:
    majority = torch.bincount(training_labels[training_labels != _NO_LABEL]).argmax()
    labelled = validation_labels[validation_labels != _NO_LABEL]
    return (labelled == majority).double().mean().item()


def _train_epoch(
    model: RecurrentStateModel,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[_Examples],
    gradient_clip: float,
) -> float:
    """Make one pass and return the recurrent model's mean loss per decision."""
    model.train()
    baseline_parameters = list(model.last_observation_head.parameters())
    own = {id(parameter) for parameter in baseline_parameters}
    recurrent_parameters = [parameter for parameter in model.parameters() if id(parameter) not in own]
    total, count = 0.0, 0
    for batch in batches:
        action_logits, baseline_logits, labels = _predictions(model, batch)
        loss = functional.cross_entropy(action_logits, labels)
        optimizer.zero_grad()
        (loss + functional.cross_entropy(baseline_logits, labels)).backward()
        for parameters in (recurrent_parameters, baseline_parameters):
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip)
        optimizer.step()
        total += loss.item() * len(labels)
        count += len(labels)
    return total / count


@torch.inference_mode()
def _accuracies(model: RecurrentStateModel, batches: Iterator[_Examples]) -> tuple[float, float]:
    """Return the accuracy of the recurrent model and of the last-observation baseline."""
    model.eval()
    right, baseline_right, count = 0, 0, 0
    for batch in batches:
        action_logits, baseline_logits, labels = _predictions(model, batch)
        right += int((action_logits.argmax(-1) == labels).sum())
        baseline_right += int((baseline_logits.argmax(-1) == labels).sum())
        count += len(labels)
    return right / count, baseline_right / count


def _predictions(model: RecurrentStateModel, batch: _Examples) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits [N, A] of both heads and labels [N] at the N labelled events of a batch."""
    batch = batch.to(model.device)
    events = batch.events
    outputs = model(events.text_embeddings, events.kinds, events.lengths)
    labelled = batch.labels != _NO_LABEL
    return outputs.action_logits[labelled], outputs.last_observation_logits[labelled], batch.labels[labelled]
