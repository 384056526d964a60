from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from sightline.agents.grammar import ShopAction, webshop_grammar
from sightline.agents.grammar.webshop import action_type
from sightline.agents.state.config import NextActionTrainingConfig, StateModelConfig
from sightline.agents.state.records import NextActionResult
from sightline.agents.state.training import _split, train_next_action
from sightline.agents.trajectory import Step, Trajectory

MODEL = StateModelConfig(text_dimension=16, event_dimension=32, state_dimension=32)
FAST = NextActionTrainingConfig(epochs=8, batch_size=16, learning_rate=0.01, validation_fraction=0.25)


class NoiseEncoder:
    """A fixed random vector for every text."""

    name, dimension = "noise", 16

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=16) for seed in seeds]).astype(np.float32)


def episode(
    goal: int, pages: Sequence[str], actions: Sequence[str], executed: Sequence[str] | None = None
) -> Trajectory:
    return Trajectory(
        episode_id=f"{goal}",
        goal=goal,
        agent="expert",
        seed=0,
        instruction="",
        steps=tuple(
            Step(observation=page, available_actions=(done, label), action=done, expert_action=label, reward=0.0)
            for page, label, done in zip(pages, actions, executed or actions, strict=True)
        ),
        final_observation="the end",
        total_reward=0.0,
        terminated=True,
        truncated=False,
    )


def remembering(goals: int) -> list[Trajectory]:
    """The last page is always the same; whether to buy there depends on the first page."""
    cheap = np.random.default_rng(0).permutation(goals) % 2 == 0
    return [
        episode(
            goal,
            ["cheap" if cheap[goal] else "dear", "results", "item"],
            ["search[lamp]", "click[b000000001]", "click[buy now]" if cheap[goal] else "click[back to search]"],
        )
        for goal in range(goals)
    ]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they save on models this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def result() -> NextActionResult:
    return train_next_action(remembering(200), NoiseEncoder(), webshop_grammar, MODEL, FAST)


def test_memory_decides_what_the_last_observation_cannot(result: NextActionResult) -> None:
    # Two thirds of the decisions follow from the page; the last third is even chance without memory.
    assert result.best.model_acc > 0.99
    assert 2 / 3 <= result.best.baseline_last_obs_acc < 0.9
    assert result.best.majority_class_baseline == pytest.approx(1 / 3)
    assert result.metrics[-1].loss < 0.1 < result.metrics[0].loss


def test_the_returned_model_has_the_accuracy_of_the_best_epoch(result: NextActionResult) -> None:
    fresh = remembering(40)
    batch = result.model.encode_events(NoiseEncoder(), [trajectory.events(2) for trajectory in fresh])
    with torch.inference_mode():
        logits = result.model(batch.text_embeddings, batch.kinds, batch.lengths).action_logits[:, 4]
    predicted = [webshop_grammar.action_types[index] for index in logits.argmax(-1)]
    right = [kind == action_type(trajectory.steps[2].action) for kind, trajectory in zip(predicted, fresh, strict=True)]
    assert np.mean(right) == result.best.model_acc == 1.0
    assert not result.model.training


def test_the_best_epoch_is_the_first_with_the_highest_accuracy(result: NextActionResult) -> None:
    accuracies = [entry.model_acc for entry in result.metrics]
    assert result.best_epoch == accuracies.index(max(accuracies)) + 1 < len(accuracies)
    assert [entry.epoch for entry in result.metrics] == list(range(1, FAST.epochs + 1))


def test_an_earlier_best_epochs_weights_are_kept(result: NextActionResult) -> None:
    until_best = FAST.model_copy(update={"epochs": result.best_epoch})
    stopped = train_next_action(remembering(200), NoiseEncoder(), webshop_grammar, MODEL, until_best)
    assert all(torch.equal(a, b) for a, b in zip(stopped.model.parameters(), result.model.parameters(), strict=True))


def test_the_same_seed_gives_the_same_model_whatever_the_global_random_state(result: NextActionResult) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        again = train_next_action(remembering(200), NoiseEncoder(), webshop_grammar, MODEL, FAST)
    assert again.metrics == result.metrics
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), result.model.parameters(), strict=True))


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    train_next_action(remembering(8), NoiseEncoder(), webshop_grammar, MODEL, FAST.model_copy(update={"epochs": 1}))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_gives_another_model(result: NextActionResult) -> None:
    other = train_next_action(
        remembering(200), NoiseEncoder(), webshop_grammar, MODEL, FAST.model_copy(update={"seed": 1})
    )
    assert other.metrics != result.metrics


def test_the_label_is_the_experts_action_not_the_executed_one() -> None:
    explored = [episode(goal, ["home"], ["click[buy now]"], ["click[back to search]"]) for goal in range(20)]
    trained = train_next_action(explored, NoiseEncoder(), webshop_grammar, MODEL, FAST)
    batch = trained.model.encode_events(NoiseEncoder(), [explored[0].events(0)])
    logits = trained.model(batch.text_embeddings, batch.kinds, batch.lengths).action_logits
    assert webshop_grammar.action_types[int(logits[0, 0].argmax())] is ShopAction.CLICK_BUY


def test_the_majority_class_is_the_training_episodes_measured_on_the_held_out_ones() -> None:
    # Long episodes of one class make it the majority of decisions in training and in validation alike.
    searching = [episode(goal, ["home"] * 3, ["search[lamp]"] * 3) for goal in range(30)]
    buying = [episode(goal, ["item"], ["click[buy now]"]) for goal in range(30, 60)]
    trained = train_next_action([*searching, *buying], NoiseEncoder(), webshop_grammar, MODEL, FAST)
    possible = {3 * k / (3 * k + (15 - k)) for k in range(16)}  # k of the 15 held-out goals search
    assert any(trained.best.majority_class_baseline == pytest.approx(value) for value in possible)
    assert trained.best.majority_class_baseline > 0.5


def test_episodes_of_one_goal_are_never_divided() -> None:
    # The page names the goal and its label is random, so only a leak of a goal's other episodes helps.
    kinds = np.random.default_rng(0).integers(2, size=120)
    labels = ["click[buy now]" if kind else "click[back to search]" for kind in kinds]
    repeated = [episode(goal, [f"goal {goal}"], [labels[goal]]) for goal in range(120) for _ in range(5)]
    trained = train_next_action(repeated, NoiseEncoder(), webshop_grammar, MODEL, FAST)
    assert trained.metrics[-1].loss < 0.1
    assert trained.metrics[-1].model_acc < 0.8


def test_a_trained_model_knows_its_text_encoder(result: NextActionResult) -> None:
    learnt = {"text_encoder": "noise", "action_types": webshop_grammar.action_types}
    assert result.model.config == MODEL.model_copy(update=learnt)


def test_episodes_without_steps_are_left_out(result: NextActionResult) -> None:
    empty = episode(1000, [], [])
    again = train_next_action([empty, *remembering(200)], NoiseEncoder(), webshop_grammar, MODEL, FAST)
    assert again.metrics == result.metrics


def test_a_single_goal_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 goals to hold one out, not 1"):
        train_next_action(remembering(1), NoiseEncoder(), webshop_grammar, MODEL, FAST)


def test_the_held_out_goals_of_a_seed_are_pinned() -> None:
    episodes = [episode(goal, ["home"], ["click[buy now]"]) for goal in (5, 6, 7, 8, 9, 10, 5, 7)]
    training, held_out = _split(episodes, 0.34, torch.Generator().manual_seed(3))
    assert held_out.tolist() == [0, 4, 6]
    assert training.tolist() == [1, 2, 3, 5, 7]


@pytest.mark.parametrize(("fraction", "count"), [(0.01, 1), (0.26, 1), (0.5, 2), (0.99, 3)])
def test_some_goals_but_never_all_are_held_out(fraction: float, count: int) -> None:
    episodes = [episode(goal, ["home"], ["click[buy now]"]) for goal in range(4)]
    training, held_out = _split(episodes, fraction, torch.Generator().manual_seed(0))
    assert (len(training), len(held_out)) == (4 - count, count)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 3},
        {"learning_rate": 0.02},
        {"weight_decay": 0.5},
        {"gradient_clip": 0.01},
        {"validation_fraction": 0.5},
        {"seed": 7},
    ],
)
def test_every_setting_of_the_training_counts(change: dict[str, float]) -> None:
    def weights(config: NextActionTrainingConfig) -> torch.Tensor:
        # The last epoch's weights are the best ones only by chance; the loss tells the rest.
        found = train_next_action(remembering(12), NoiseEncoder(), webshop_grammar, MODEL, config)
        parameters = torch.cat([parameter.detach().reshape(-1) for parameter in found.model.parameters()])
        return torch.cat([parameters, torch.tensor([entry.loss for entry in found.metrics])])

    config = FAST.model_copy(update={"epochs": 2})
    changed = weights(config.model_copy(update=change))
    assert not torch.equal(weights(config)[: len(changed)], changed)


def test_the_baselines_gradient_is_clipped_apart_from_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    clipped: list[tuple[int, float]] = []
    clip = torch.nn.utils.clip_grad_norm_

    def record(parameters: list[torch.nn.Parameter], largest: float) -> torch.Tensor:
        clipped.append((len(list(parameters)), largest))
        return clip(parameters, largest)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record)
    config = FAST.model_copy(update={"epochs": 1, "gradient_clip": 0.7, "batch_size": 100})
    model = train_next_action(remembering(8), NoiseEncoder(), webshop_grammar, MODEL, config).model
    assert clipped == [(len(list(model.parameters())) - 4, 0.7), (4, 0.7)]
