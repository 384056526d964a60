"""The headroom of a growth problem: its instances, the oracle's candidates, the searches, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.growth.bounds import (
    FIFTEEN_LINES,
    NO_GROWTH,
    ORACLE,
    PROBE,
    SCHEDULE,
    Bounds,
    _rounds,
    _timetables,
    _topologies,
)
from experiments.growth.headroom import Headroom, left_out_table, methods_table, results, sizes_table
from experiments.growth.learning import CONTROLS, LeftOut
from experiments.growth.playing import GREEDY, _parts
from experiments.growth.problem import HeadroomSettings, Problem, problems_from
from experiments.growth.rivals import Rivals
from experiments.growth.work import LEARNED, MEMORYLESS
from sightline.tamiyo_policy.experiment import EVALUATION_SEED, GrowthRecord, Probe, Rival, Schedule
from sightline.tamiyo_policy.hosts import NOOP, NORM

SETTINGS = HeadroomSettings()
RIVALS = ("Net2Net", "GradMax", "Firefly", "AutoGrow")


def instance_of(problem: Problem):
    return SETTINGS.growth.training.instances.draw(problem.episode.seed, 3)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**40))
def test_an_instance_is_a_function_of_its_seed_and_of_the_distribution(seed: int) -> None:
    (problem,) = problems_from(SETTINGS, seed, 1)
    assert problem in problems_from(SETTINGS, max(seed - 2, 0), 3)
    assert problem.shape.data in SETTINGS.data_sets
    assert SETTINGS.narrowest <= problem.shape.channels <= SETTINGS.widest
    assert problem.episode.family in SETTINGS.families


def test_fifty_instances_have_all_data_sets_families_and_widths() -> None:
    problems = problems_from(SETTINGS, EVALUATION_SEED, 50)
    assert {problem.shape.data for problem in problems} == set(SETTINGS.data_sets)
    assert {problem.episode.family for problem in problems} == set(SETTINGS.families)
    assert {problem.shape.channels for problem in problems} == set(range(4, 9))
    drifting = [problem for problem in problems if instance_of(problem).drift_at < 1]
    assert 5 < len(drifting) < 30


def test_the_oracle_tries_every_small_topology_of_open_slots() -> None:
    for problem in problems_from(SETTINGS, EVALUATION_SEED, 12):
        topologies = _topologies(SETTINGS, problem)
        free = 3 - int(instance_of(problem).severed.all(axis=0).sum())
        assert len(set(topologies)) == len(topologies) == {0: 1, 1: 7, 2: 49, 3: 1 + 3 * 6 + 3 * 36}[free]
        assert (NOOP,) * 3 in topologies


def test_where_slots_drift_the_oracle_also_plants_after_the_drift() -> None:
    for problem in problems_from(SETTINGS, EVALUATION_SEED, 12):
        starts = {schedule.start for schedule in _timetables(SETTINGS, problem, (NORM, NOOP, NORM))}
        drift_at = instance_of(problem).drift_at
        assert starts == ({0} if drift_at == 1 else {0, int(np.ceil(60 * drift_at))})


def test_a_search_takes_no_more_than_its_steps() -> None:
    for steps in (500, 42_000, 100_000):
        plan = _rounds(SETTINGS, steps)
        spent = sum(60 * count * instances for count, instances in plan)
        assert spent <= max(steps, 60 * sum(instances for _, instances in plan))
    assert [count for count, _ in _rounds(SETTINGS, 42_000)] == [43, 21, 9, 3]


def test_every_play_belongs_to_one_job_and_jobs_play_alike_ones_together() -> None:
    plays = [(problem, Schedule(())) for problem in problems_from(SETTINGS, 0, 30)]
    parts = _parts(plays)
    assert sorted(place for part in parts for place in part) == list(range(30))
    shapes = [plays[place][0].shape for part in parts for place in part]
    assert shapes == sorted(shapes)


def headroom_of(lead: float) -> Headroom:
    problems = problems_from(SETTINGS, EVALUATION_SEED, 20)
    noise = np.random.default_rng(0).normal(0, 1, 20)
    noise -= noise.mean()
    levels = {NO_GROWTH: 60.0, FIFTEEN_LINES: 70.0, GREEDY: 70.0, SCHEDULE: 75.0, PROBE: 77.0, ORACLE: 75.0 + lead}
    records = {
        name: [
            GrowthRecord(
                family="A", seed=at, score=level, accuracy=90, parameters=9, topology=(0, 0, 0),
                test_score=level + noise[at] * (name == ORACLE), test_accuracy=90,
            )
            for at in range(20)
        ]
        for name, level in levels.items()
    }  # fmt: skip
    bounds = Bounds(
        problems,
        Schedule(((2, NORM),)),
        Probe((NORM,)),
        (100, 100),
        999,
        {name: [of] for name, of in records.items()},
    )
    learned = [records[PROBE], records[PROBE]]
    left_out = [LeftOut("wine", (0, 1, 2), [records[PROBE][:3]])]
    rivals = Rivals((Rival("GradMax", 1 / 3),), {"GradMax": [records[NO_GROWTH]]}, {"GradMax": [records[GREEDY]]}, 300)
    return Headroom(SETTINGS, bounds, rivals, learned, {MEMORYLESS: [records[GREEDY]] * 3}, left_out)


@pytest.mark.parametrize(
    ("lead", "verdict"),
    [
        (9.0, "counts"),
        (5.1, "counts by its mean, but its interval reaches below the threshold"),
        (2.0, "does not count"),
    ],
)
def test_the_problem_counts_only_if_the_oracle_leads_by_the_threshold(lead: float, verdict: str) -> None:
    headroom = headroom_of(lead)
    assert headroom.verdict == verdict
    assert headroom.headroom.value == pytest.approx(lead)
    found = results(headroom)
    assert found["verdict"] == verdict
    (row,) = (row for row in methods_table(headroom).rows if row[0] == "GradMax")
    assert row[4].startswith(f"{15 + lead:+.2f}")
    assert [row[0] for row in sizes_table(headroom).rows] == ["GradMax"]
    assert sizes_table(headroom).rows[0][-1].startswith(f"{5 + lead:+.2f}")
    assert any("GradMax over the first 33 %; chosen on 300 steps" in claim for claim in found["claims"])
    assert "norm in slot 2; from step 0 on, tempo fast" in found["best_schedule"]
    better = next(item for item in headroom.learned_comparisons if item.baseline == SCHEDULE)
    assert (better.difference.value, better.outcome) == (2.0, "better")
    assert [row[:4] for row in left_out_table(headroom).rows] == [("wine", "3", "77.00", "75.00")]
    control = next(item for item in headroom.learned_comparisons if item.baseline == MEMORYLESS)
    assert (control.difference.value, control.outcome) == (7.0, "better")
    stored = json.loads(json.dumps(found, default=str))
    assert stored["instances"][3]["seed"] == EVALUATION_SEED + 3
    assert len(stored["instances"][3][MEMORYLESS]) == 3
    assert [part["part"] for part in stored["never_seen"]] == ["wine"]


@pytest.mark.parametrize(
    ("change", "message"), [({"narrowest": 9}, "more than widest"), ({"screening_steps": 61}, "at most 60")]
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HeadroomSettings.model_validate(change)


@pytest.mark.slow
def test_a_smoke_run_measures_everything_and_a_second_one_reads_it(tmp_path: Path, run_app: Callable[..., str]) -> None:
    outputs = []
    for _ in range(2):
        run_app("headroom", tmp_path, "--smoke")
        outputs.append(json.loads((tmp_path / "headroom" / "smoke" / "results.json").read_text()))
    assert outputs[0] == outputs[1]
    methods = {row["method"]: row for row in outputs[0]["methods"]}
    assert list(methods) == [
        *(NO_GROWTH, FIFTEEN_LINES, GREEDY, SCHEDULE, PROBE),
        *RIVALS,
        *(*CONTROLS, LEARNED, ORACLE),
    ]
    assert methods[NO_GROWTH]["parameters"] == 0
    # The oracle chose among the best schedule and others, by the validation part.
    assert methods[ORACLE]["validation_score"]["value"] >= methods[SCHEDULE]["validation_score"]["value"] - 1e-6
    assert methods[ORACLE]["validation_score"]["value"] >= methods[NO_GROWTH]["validation_score"]["value"] - 1e-6
    # At the oracle's parameters, less what no whole unit fills; and none where it planted nothing.
    assert all(methods[name]["parameters"] <= methods[ORACLE]["parameters"] for name in RIVALS)
    for row in outputs[0]["instances"]:
        assert any(row[ORACLE][0]["topology"]) or not any(any(row[name][0]["topology"]) for name in RIVALS)
