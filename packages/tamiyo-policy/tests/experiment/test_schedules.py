from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sightline.tamiyo_policy.experiment.evaluation import Method, play_episodes
from sightline.tamiyo_policy.experiment.records import Episode, GrowthRecord
from sightline.tamiyo_policy.experiment.schedules import (
    Probe,
    Schedule,
    draw_schedules,
    probing,
    schedule_of,
    scheduled,
)
from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig, LifecycleConfig
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.instances import InstanceDistribution
from sightline.tamiyo_policy.hosts.operations import DEPTHWISE, LORA, MLP_SMALL, NOOP, NORM, Tempo
from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace

LIFECYCLE = LifecycleConfig(
    mask_closed_gates=True, auto_forward=frozenset({"G1", "G2", "G3"}), min_training_epochs=1, min_prune_age=1
)
STEPS = 20


def play(
    data: ClassificationData,
    method: Callable[[FactoredActionSpace], Method],
    *,
    seeds: list[int],
    **instances: object,
) -> list[GrowthRecord]:
    training = HostTrainingConfig(
        steps=STEPS, minibatches=2, batch_size=16, instances=InstanceDistribution.model_validate(instances)
    )
    environment = GrowthEnvironment(data, len(seeds), config=GrowthConfig(training=training, lifecycle=LIFECYCLE))
    (records,) = play_episodes(environment, [Episode("A", seed) for seed in seeds], method(environment.action_space))
    return records


def planted_at(record: GrowthRecord) -> list[int]:
    """The step of germination in each slot, -1 for none."""
    return [next((step for step, code in enumerate(stages) if code != "1"), -1) for stages in record.stages]


def test_a_schedule_plants_in_its_order_from_its_start_and_each_host_has_its_own(
    small_digits: ClassificationData,
) -> None:
    plans = [Schedule(((2, NORM), (0, LORA)), start=3, tempo=Tempo.SLOW), Schedule(()), Schedule(((1, MLP_SMALL),))]
    first, empty, single = play(small_digits, lambda space: scheduled(space, plans), seeds=[0, 0, 0])
    assert first.topology == (LORA, NOOP, NORM)
    assert planted_at(first)[2] == 3
    assert planted_at(first)[0] > 3
    assert empty.operations == {"wait": STEPS}
    assert single.topology == (NOOP, MLP_SMALL, NOOP)
    assert planted_at(single) == [-1, 0, -1]


def test_a_schedule_does_not_look_and_waits_behind_a_seed_in_a_severed_slot(small_digits: ClassificationData) -> None:
    severed = InstanceDistribution(severed=(1, 1))
    seed = next(seed for seed in range(50) if severed.draw(seed, 3).severed[0, 2])
    (record,) = play(
        small_digits, lambda space: scheduled(space, [schedule_of((NORM, NORM, NORM))]), seeds=[seed], severed=(1, 1)
    )
    assert record.topology == (NOOP, NOOP, NORM)
    assert set(record.stages[2][1:]) <= {"2", "3"}


def test_what_the_budget_does_not_pay_for_is_passed_over(small_digits: ClassificationData) -> None:
    share = float(np.log10(100 / 466))
    plan = schedule_of((NORM, DEPTHWISE, LORA))
    (record,) = play(small_digits, lambda space: scheduled(space, [plan]), seeds=[0], log_budget=(share, share))
    assert record.topology == (NORM, NOOP, LORA)


def test_a_probe_gives_up_severed_slots_and_grows_in_one_that_is_not(small_digits: ClassificationData) -> None:
    severed = InstanceDistribution(severed=(1, 1))
    seed = next(seed for seed in range(50) if severed.draw(seed, 3).severed[0, 2])
    probe = Probe((NORM,), keep_above=-100.0)
    (record,) = play(small_digits, lambda space: probing(space, [probe]), seeds=[seed], severed=(1, 1))
    assert record.topology == (NOOP, NORM, NOOP)
    assert record.operations["prune"] == 1
    assert record.operations["germinate"] == 2


def test_a_probe_prunes_what_contributes_too_little_and_tries_its_whole_rotation(
    small_digits: ClassificationData,
) -> None:
    (record,) = play(small_digits, lambda space: probing(space, [Probe((NORM, LORA), keep_above=1000.0)]), seeds=[0])
    assert record.operations["germinate"] == 2
    assert record.operations["prune"] >= 1


def test_schedules_are_drawn_without_repetition_and_again_alike() -> None:
    drawn = [draw_schedules(60, [NORM, LORA], 3, [0, 9], np.random.default_rng(5)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 60
    assert drawn[0][0] == Schedule(())
    assert {len(schedule.plan) for schedule in drawn[0]} == {0, 1, 2, 3}
    assert {schedule.start for schedule in drawn[0]} == {0, 9}


def test_no_more_schedules_are_drawn_than_there_are() -> None:
    assert len(draw_schedules(99, [NORM], 1, [0], np.random.default_rng(0))) == 1 + len(Tempo)


def test_the_order_of_a_topology_is_as_asked_for() -> None:
    assert schedule_of((NORM, NOOP, LORA)).plan == ((2, LORA), (0, NORM))
    assert schedule_of((NORM, NOOP, LORA), last_first=False, start=4) == Schedule(((0, NORM), (2, LORA)), start=4)


@pytest.mark.parametrize("plan", [((0, NORM), (0, LORA)), ((1, NOOP),)])
def test_an_impossible_plan_is_refused(plan: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="one module into a slot at most"):
        Schedule(plan)
