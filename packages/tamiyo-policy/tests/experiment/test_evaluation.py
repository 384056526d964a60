from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.tamiyo_policy.compat.network import FactoredRecurrentActorCritic
from sightline.tamiyo_policy.experiment.evaluation import Act, GrowthSituation, Method, play_episodes, topology_record
from sightline.tamiyo_policy.experiment.methods import (
    fixed_schedule,
    greedy_counterfactual,
    heuristic,
    learned,
    no_growth,
    random_legal,
)
from sightline.tamiyo_policy.experiment.records import EVALUATION_SEED, Episode, GrowthRecord, episodes_from
from sightline.tamiyo_policy.growth.config import GrowthConfig, HeuristicConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.growth.topologies import TopologyRun, train_topologies
from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig, LifecycleConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.operations import LORA, NOOP, NORM, Op
from sightline.tamiyo_policy.hosts.slots import Stage
from sightline.tamiyo_policy.policy.config import NetworkConfig
from sightline.tamiyo_policy.ppo.normalisation import ObservationNormaliser
from sightline.tamiyo_policy.ppo.trained_policy import TrainedPolicy

STEPS = 16
LIFECYCLE = LifecycleConfig(mask_closed_gates=True, min_training_epochs=1)
SMALL = GrowthConfig(training=HostTrainingConfig(steps=STEPS, minibatches=2, batch_size=16), lifecycle=LIFECYCLE)
EPISODES = episodes_from(EVALUATION_SEED, 5, "ABC")


@pytest.fixture
def environment(small_digits: ClassificationData) -> GrowthEnvironment:
    return GrowthEnvironment(small_digits, 5, config=SMALL)


def play(
    environment: GrowthEnvironment, method: Method, *, read_test: bool = False, episodes: tuple[Episode, ...] = EPISODES
) -> list[GrowthRecord]:
    return [record for part in play_episodes(environment, episodes, method, read_test=read_test) for record in part]


def close(left: GrowthRecord, right: GrowthRecord) -> bool:
    return (left.family, left.seed) == (right.family, right.seed) and abs(left.score - right.score) < 1e-3


def test_waiting_is_the_empty_topology_on_the_same_episodes(
    environment: GrowthEnvironment, small_digits: ClassificationData
):
    waited = play(environment, no_growth(environment.action_space), read_test=True)
    runs = [TopologyRun((NOOP,) * 3, episode.family, episode.seed) for episode in EPISODES]
    given = [
        topology_record(result)
        for part in train_topologies(
            runs, small_digits, TokenHost(), token_blueprints(), channels=8, training=SMALL.training, read_test=True
        )
        for result in part
    ]
    for mine, theirs in zip(waited, given, strict=True):
        assert close(mine, theirs)
        assert mine.test_accuracy == pytest.approx(theirs.test_accuracy, abs=1e-3)
        assert mine.test_score == theirs.test_score == mine.test_accuracy  # nothing grown, no rent
        assert mine.operations == {"wait": STEPS}


def test_a_method_meets_the_same_episode_in_any_stack(environment: GrowthEnvironment, small_digits: ClassificationData):
    method = fixed_schedule(environment.action_space, LIFECYCLE, (NORM, NOOP, NOOP), plateau_epochs=1)
    stacked = play(environment, method)
    alone = play(GrowthEnvironment(small_digits, 2, config=SMALL), method)
    assert len(alone) == len(stacked) == 5
    assert all(close(left, right) for left, right in zip(stacked, alone, strict=True))


def test_the_test_part_is_read_only_on_request(environment: GrowthEnvironment, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: object) -> None:
        raise AssertionError("the test part was read")

    monkeypatch.setattr(GrowthEnvironment, "test_accuracy", refuse)
    assert play(environment, no_growth(environment.action_space))[0].test_score is None
    with pytest.raises(AssertionError, match="was read"):
        play(environment, no_growth(environment.action_space), read_test=True)


def test_the_undiscounted_return_is_the_change_of_the_score(environment: GrowthEnvironment):
    environment.reset([episode.seed for episode in EPISODES], [episode.family for episode in EPISODES])
    before = environment.signals.accuracy_history[:, -1].tolist()
    for record, start in zip(play(environment, random_legal(environment.action_space, seed=0)), before, strict=True):
        if not record.rollbacks:
            assert 10 * (record.total_reward or 0) == pytest.approx(record.score - start, abs=1e-2)


def test_random_play_repeats_itself_and_another_seed_differs(environment: GrowthEnvironment):
    first, again, other = (play(environment, random_legal(environment.action_space, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert [record.stages for record in first] != [record.stages for record in other]


def test_the_schedule_grows_its_topology_and_keeps_it(environment: GrowthEnvironment):
    method = fixed_schedule(environment.action_space, LIFECYCLE, (NOOP, NORM, NOOP), plateau_epochs=1)
    records = play(environment, method)
    grown = [record for record in records if "7" in record.stages[1]]
    assert grown, "no host reached a plateau"
    for record in grown:
        assert record.topology == (NOOP, NORM, NOOP)
        assert record.operations["germinate"] == record.operations["fossilize"] == 1
        assert "prune" not in record.operations
        assert set(record.stages[0] + record.stages[2]) == {"1"}


def test_greedy_prunes_what_does_not_contribute_and_tries_the_next(environment: GrowthEnvironment):
    space = environment.action_space
    never = play(environment, greedy_counterfactual(space, LIFECYCLE, (NORM, LORA), keep_above=1000.0))
    assert all("fossilize" not in record.operations and record.operations["prune"] >= 1 for record in never)
    always = play(environment, greedy_counterfactual(space, LIFECYCLE, (NORM, LORA), keep_above=-1000.0))
    assert all(record.topology[0] == NORM and record.operations["fossilize"] >= 1 for record in always)
    assert {record.topology[1] for record in always} <= {LORA, NOOP}


def test_the_heuristic_acts_within_the_rules(environment: GrowthEnvironment):
    config = HeuristicConfig(rotation=(NORM, LORA), min_epoch=1, plateau_epochs=1)
    records = play(environment, heuristic(environment.action_space, config, LIFECYCLE))
    assert sum(record.operations.get("germinate", 0) for record in records) > 0


def make_policy(environment: GrowthEnvironment) -> TrainedPolicy:
    network = FactoredRecurrentActorCritic(
        environment.layout.dimension, 3, NetworkConfig(hidden_dim=16), generator=torch.Generator().manual_seed(0)
    )
    return TrainedPolicy(network, None)


def test_a_policy_repeats_itself_and_its_mode_differs_from_its_draws(environment: GrowthEnvironment):
    policy = make_policy(environment)
    drawn, again, mode = (
        play(environment, learned(policy, deterministic=deterministic, seed=0))
        for deterministic in (False, False, True)
    )
    assert drawn == again
    assert drawn != mode


def test_a_policy_forgets_what_happened_before_a_restart(
    environment: GrowthEnvironment, monkeypatch: pytest.MonkeyPatch
):
    policy = make_policy(environment)
    observation = environment.reset(range(5), "ABCDE")
    get_action, remembered = policy.network.get_action, []

    def spy(*arguments, **named):
        output = get_action(*arguments, **named)
        remembered.append(output.hidden[0])
        return output

    monkeypatch.setattr(policy.network, "get_action", spy)
    act = learned(policy, deterministic=True, seed=0)(EPISODES)
    for restarted in (True, False, True):
        flags = torch.full((5,), restarted)
        act(GrowthSituation(observation, environment.slots, environment.signals, flags))
    assert torch.equal(remembered[0], remembered[2])
    assert not torch.equal(remembered[0], remembered[1])


def test_a_policy_reads_observations_on_the_scale_that_it_was_trained_on(
    environment: GrowthEnvironment, monkeypatch: pytest.MonkeyPatch
):
    observation = environment.reset(range(5), "ABCDE")
    normaliser = ObservationNormaliser(environment.layout.continuous())
    normaliser.update(observation.features)
    policy = TrainedPolicy(make_policy(environment).network, normaliser)
    get_action, read = policy.network.get_action, []

    def spy(states: torch.Tensor, *arguments, **named):
        read.append(states.squeeze(1))
        return get_action(states, *arguments, **named)

    monkeypatch.setattr(policy.network, "get_action", spy)
    act = learned(policy, deterministic=True, seed=0)(EPISODES)
    act(GrowthSituation(observation, environment.slots, environment.signals, torch.ones(5, dtype=torch.bool)))
    assert torch.equal(read[0], normaliser.normalise(observation.features))
    assert not torch.allclose(read[0], observation.features)


def test_a_record_survives_being_written_and_read(environment: GrowthEnvironment, tmp_path: Path):
    for record in play(environment, random_legal(environment.action_space, seed=0), read_test=True):
        (tmp_path / "record.json").write_text(record.model_dump_json())
        assert GrowthRecord.model_validate_json((tmp_path / "record.json").read_text()) == record


def test_stages_tell_the_story_of_each_slot(environment: GrowthEnvironment):
    def begin(episodes: object) -> Act:
        step = iter(range(STEPS))

        def act(situation: GrowthSituation) -> torch.Tensor:
            actions = environment.action_space.placeholder.expand(5, -1).clone()
            if next(step) == 2:
                actions[:, [0, 1, 7]] = torch.tensor([2, NORM, int(Op.GERMINATE)])
            return actions

        return act

    for record in play(environment, begin):
        assert record.stages[0] == f"{Stage.DORMANT:x}" * STEPS
        assert record.stages[2] == f"{Stage.DORMANT:x}" * 2 + f"{Stage.GERMINATED:x}" * (STEPS - 2)
        assert record.topology == (NOOP, NOOP, NORM)
        assert np.isclose(record.score, record.accuracy)


def test_what_looks_at_no_counterfactual_does_the_same_where_none_is_measured(small_digits: ClassificationData) -> None:
    space = GrowthEnvironment(small_digits, 1, config=SMALL).action_space
    topology = (LORA, NOOP, NORM)
    for method in (
        no_growth(space),
        random_legal(space, seed=3),
        fixed_schedule(space, LIFECYCLE, topology, plateau_epochs=1),
    ):
        measured, unmeasured = (
            play(GrowthEnvironment(small_digits, 5, config=SMALL, counterfactuals=wanted), method, read_test=True)
            for wanted in (True, False)
        )
        assert measured == unmeasured


def test_without_counterfactuals_seeds_count_as_measured_and_worth_nothing(small_digits: ClassificationData) -> None:
    environment = GrowthEnvironment(small_digits, 5, config=SMALL, counterfactuals=False)
    play(environment, fixed_schedule(environment.action_space, LIFECYCLE, (NORM, NORM, NORM), plateau_epochs=1))
    live = environment.slots.in_stage(Stage.BLENDING, Stage.HOLDING) & (environment.slots.alpha > 0)
    assert live.any()
    assert (environment.slots.contribution_age[live] == 0).all()
    assert (environment.slots.contribution == 0).all()
