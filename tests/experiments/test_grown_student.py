"""The shop's student in the growth environment: equal compute, growth that changes no output, and resumption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from experiments.growth.student import arms
from experiments.growth.student.arms import Arm, StudentRecord, _train_student, whole
from experiments.growth.student.examples import EncodedDecision, Yardsticks, read_decisions, yardsticks
from experiments.growth.student.networks import BLOCK, FAMILY, FEED_FORWARD, StudentNetworks, StudentSnapshot, rate_at
from experiments.growth.student.report import GrownStudents, _since, growth_table, results
from experiments.growth.student.settings import GrownStudentSettings
from lab.settings import RunSettings
from sightline.retrieval.jsonl import read_jsonl, write_jsonl
from sightline.tamiyo_policy.growth import GrowingNetworks, NetworksEnvironment
from sightline.tamiyo_policy.hosts import Operator, SeedSetting

SETTINGS = GrownStudentSettings.model_validate({"smoke": True, **GrownStudentSettings.SMOKE})
NEVER = np.zeros((1, 3), np.bool_)
EVERY = np.ones((1, 8), np.bool_)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decisions in which the right candidate repeats the prompt's first token."""
    rng = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 30), ("dev", 6), ("test", 8)):
        for number in range(count):
            prompt = rng.integers(0, 400, rng.integers(3, 12)).tolist()
            candidates = [[prompt[0], 7], [int(rng.integers(400)), 9, 7]]
            target = [0.9, 0.1] if number % 2 else [0.5, 0.5]
            rows.append(
                EncodedDecision(split=split, goal=number // 2, prompt=prompt, candidates=candidates, target=target)
            )
    path = tmp_path_factory.mktemp("decisions")
    write_jsonl(path / "decisions.jsonl", rows)
    return path


@pytest.fixture
def networks(folder: Path) -> StudentNetworks:
    networks = StudentNetworks(read_decisions(folder, 6), SETTINGS, SETTINGS.small_layers)
    networks.reset([1], [FAMILY])
    return networks


def standing(*blueprints: int) -> SeedSetting:
    return whole(np.array([blueprints]))


def train(folder: Path, arm: Arm, seed: int, file: Path) -> StudentRecord:
    _train_student(SETTINGS, folder, arm, seed, Path("no-policy"), file)
    (record,) = read_jsonl(file, StudentRecord)
    return record


def test_all_arms_have_the_same_compute_and_spend_it_to_within_one_batch(folder: Path, tmp_path: Path) -> None:
    records = [
        train(folder, arm, 1, tmp_path / f"{number}.jsonl")
        for number, arm in enumerate((Arm.FINAL, Arm.SMALL, Arm.HALFWAY, Arm.FIFTEEN))
    ]
    assert len({record.compute for record in records}) == 1
    for record in records:
        assert 0 <= record.spent - record.compute < record.last_step
    final, small, halfway, fifteen = records
    assert final.steps == SETTINGS.student.steps < halfway.steps < small.steps
    assert final.parameters == halfway.parameters > fifteen.parameters > small.parameters
    assert (halfway.topology, fifteen.topology) == ((0, BLOCK, BLOCK), (FEED_FORWARD, 0, BLOCK))
    assert [record.looked for record in records[:3]] == [0, 0, 0] != fifteen.looked


@pytest.mark.parametrize("blueprints", [(-1, -1, -1), (-1, FEED_FORWARD, BLOCK)])
def test_what_training_spends_is_what_torch_counts(networks: StudentNetworks, blueprints: tuple[int, ...]) -> None:
    networks.model.set_attn_implementation("eager")
    for slot, blueprint in enumerate(blueprints):
        if blueprint >= 0:
            networks.plant(0, slot, blueprint, 0)
    with FlopCounterMode(display=False) as counter:
        networks.interval(standing(*blueprints), NEVER, 0)
    assert counter.get_total_flops() == networks.spent > 0


def test_what_only_learns_is_counted_as_torch_counts_it_too(networks: StudentNetworks) -> None:
    networks.model.set_attn_implementation("eager")
    networks.plant(0, 1, BLOCK, 0)
    learning = SeedSetting(
        np.array([[-1, BLOCK, -1]]), np.zeros((1, 3), np.float32), np.zeros((1, 3), np.int64), np.array([[0, 1, 0]]) > 0
    )
    with FlopCounterMode(display=False) as counter:
        report = networks.interval(learning, NEVER, 0)
    assert counter.get_total_flops() == networks.spent
    assert report.seed_norm[0, 1] > 0 == report.seed_norm[0, 0]


@pytest.mark.parametrize("blueprint", [BLOCK, FEED_FORWARD])
def test_growth_changes_nothing_at_first_and_something_after_training(networks, blueprint: int) -> None:
    networks.interval(standing(-1, -1, -1), NEVER, 0)
    before = networks.measure(standing(-1, -1, -1), EVERY)
    networks.plant(0, 2, blueprint, 1)
    grown = standing(-1, -1, blueprint)
    after = networks.measure(grown, EVERY)
    assert all((one[0, 0] == other).all() for one, other in zip(before, after, strict=True))
    networks.interval(grown, NEVER, 1)
    _, losses = networks.measure(grown, EVERY)
    on, off = losses[0, [4, 5, 6, 7]], losses[0, [0, 1, 2, 3]]
    assert len(set(on)) == len(set(off)) == 1
    assert on[0] != off[0]
    assert off[0] == networks.measure(standing(-1, -1, -1), EVERY)[1][0, 0]


@pytest.mark.parametrize("operator", list(Operator))
def test_every_operator_is_the_identity_at_birth_and_learns_where_it_only_learns(networks, operator: Operator) -> None:
    before = networks.measure(standing(-1, -1, -1), EVERY)[1][0, 0]
    networks.plant(0, 0, BLOCK, 0)
    operators = np.full((1, 3), int(operator))
    there = np.array([[BLOCK, -1, -1]])
    half = SeedSetting(there, np.full((1, 3), 0.5, np.float32), operators, NEVER)
    assert networks.measure(half, EVERY)[1][0] == pytest.approx(np.full(8, before), abs=1e-6)
    through = SeedSetting(there, np.zeros((1, 3), np.float32), operators, there > 0)
    assert networks.interval(through, NEVER, 0).seed_norm[0, 0] > 0
    frozen = [parameter.clone() for parameter in networks.places[0].parameters()]
    networks.interval(half, there > 0, 1)
    assert all(torch.equal(*pair) for pair in zip(frozen, networks.places[0].parameters(), strict=True))


@pytest.mark.parametrize("operator", list(Operator))
def test_what_only_learns_leaves_the_rest_of_the_student_alone(folder: Path, operator: Operator) -> None:
    found = []
    for blueprint in (-1, BLOCK):
        networks = StudentNetworks(read_decisions(folder, 6), SETTINGS, SETTINGS.small_layers)
        networks.reset([1], [FAMILY])
        networks.plant(0, 0, BLOCK, 0)
        there = np.array([[blueprint, -1, -1]])
        alpha = np.zeros((1, 3), np.float32)
        setting = SeedSetting(there, alpha, np.full((1, 3), int(operator)), there >= 0)
        networks._arrange(setting, alpha[0], setting.straight_through[0])
        for batch in ([0, 1], [2, 3]):
            networks.spent = 0  # on which the rate depends
            networks._step(batch, NEVER[0])
        places = {id(parameter) for place in networks.places for parameter in place.parameters()}
        found.append([each for each in networks.model.parameters() if id(each) not in places])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_snapshot_brings_the_student_back(networks: StudentNetworks) -> None:
    snapshot = StudentSnapshot(networks)
    networks.interval(standing(-1, -1, -1), NEVER, 0)
    snapshot.start()
    before = networks.measure(standing(-1, -1, -1), EVERY)[1]
    networks.interval(standing(-1, -1, -1), NEVER, 1)
    snapshot.restore_snapshot(torch.tensor([False]))
    assert (networks.measure(standing(-1, -1, -1), EVERY)[1] != before).all()
    snapshot.restore_snapshot(torch.tensor([True]))
    assert (networks.measure(standing(-1, -1, -1), EVERY)[1] == before).all()


def test_the_environment_of_token_hosts_takes_the_student_and_shows_what_policies_know(networks) -> None:
    told: GrowingNetworks = networks
    environment = NetworksEnvironment(told, StudentSnapshot(networks), config=SETTINGS.headroom.growth)
    seen = environment.reset([2], [FAMILY])
    assert seen.features.shape == (1, 116)
    assert set(np.flatnonzero(seen.masks["blueprint"][0])) == {BLOCK, FEED_FORWARD}
    assert networks.allowances() == 2 * networks.prices[BLOCK]
    assert networks.num_classes == pytest.approx(2)


def test_guessing_and_knowing_the_targets_bound_what_a_student_can_do(folder: Path, networks: StudentNetworks) -> None:
    decisions = read_decisions(folder, 6).test
    bounds = yardsticks(decisions)
    assert bounds.guessing_loss == pytest.approx(np.log(2))
    assert bounds.guessing_agreement == 0.75  # one of two at every second decision, else both
    knowing = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    assert bounds.least_loss == pytest.approx((knowing + np.log(2)) / 2)
    assert networks.test(standing(-1, -1, -1)).losses.mean() > bounds.least_loss


class KilledError(Exception):
    """Stands for the death of the process."""


def test_a_training_that_was_killed_is_done_again_and_ends_the_same(folder, tmp_path, monkeypatch) -> None:
    undisturbed = train(folder, Arm.FIFTEEN, 0, tmp_path / "whole.jsonl")
    interval = StudentNetworks.interval

    def dying(networks: StudentNetworks, setting: SeedSetting, frozen: Any, step: int) -> Any:
        if step == 7:
            raise KilledError
        return interval(networks, setting, frozen, step)

    monkeypatch.setattr(StudentNetworks, "interval", dying)
    with pytest.raises(KilledError):
        train(folder, Arm.FIFTEEN, 0, tmp_path / "killed.jsonl")
    monkeypatch.undo()
    assert train(folder, Arm.FIFTEEN, 0, tmp_path / "killed.jsonl") == undisturbed
    monkeypatch.setattr(arms, "StudentNetworks", None)  # what is done is not done again
    assert train(folder, Arm.FIFTEEN, 0, tmp_path / "killed.jsonl") == undisturbed


def test_the_rate_rises_to_its_peak_and_falls_to_nothing_with_what_is_spent() -> None:
    rates = [rate_at(share, 0.1) for share in np.linspace(0, 1, 101)]
    assert int(np.argmax(rates)) == 10
    assert (rates[10], rates[100]) == (pytest.approx(1), 0)
    assert all(0 < rate <= 1 + 1e-9 for rate in rates[:-1])


def record_of(arm: Arm, seed: int, loss: float) -> StudentRecord:
    return StudentRecord(
        arm=arm, seed=seed, test_loss={3: loss, 8: loss + 1 + seed}, test_agreement={3: 0.5, 8: 0.25},
        validation_loss=1, compute=10, spent=11, looked=5, last_step=2, steps=4, parameters=9,
        topology=(0, BLOCK, 0), stages=("1111", "1247", "1289"),
    )  # fmt: skip


@pytest.mark.parametrize(("lead", "verdict"), [(-0.5, "below"), (0.0, "not to be told apart from"), (0.5, "above")])
def test_the_answer_says_what_the_paired_interval_allows(lead: float, verdict: str) -> None:
    records = {arm: [record_of(arm, seed, 1.0 + lead * (arm is Arm.LEARNED)) for seed in range(3)] for arm in Arm}
    students = GrownStudents(SETTINGS, records, Yardsticks(2.0, 0.25, 1.0))
    assert f"is {verdict} that of the arm 'final size from the start'" in students.claims()[0]
    assert f") and {verdict} that of the arm 'small to the end'" in students.claims()[0]
    found = json.loads(json.dumps(results(students)))
    assert [row["baseline"] for row in found["comparisons"]] == [arm for arm in Arm if arm is not Arm.LEARNED]
    assert [row["test_loss"]["value"] for row in found["comparisons"]] == pytest.approx([lead] * 4)
    assert growth_table(students).rows[0][2:5] == ("nothing", "block since 1", "nothing")


def test_a_place_is_as_old_as_what_stands_in_it_at_the_end() -> None:
    assert [_since(text) for text in ("1111", "2347", "1211", "12891234")] == ["", " since 0", "", " since 5"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"small_layers": 4}, "small_layers must be 1 to 3 less than student.layers, which is 4"),
        ({"student": {"steps": 119}}, "student.steps must be at least 120"),
        ({"policy_seeds": ()}, "at least one of --policy-seeds"),
        ({"policies": ("nowhere",)}, "nowhere holds no trained policy"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, Any], message: str) -> None:
    assert issubclass(GrownStudentSettings, RunSettings)
    with pytest.raises(ValidationError, match=message):
        GrownStudentSettings.model_validate(change)


@pytest.mark.slow
def test_a_smoke_run_trains_every_arm_and_a_second_one_reads_it(tmp_path: Path, run_app: Callable[..., str]) -> None:
    outputs = []
    for _ in range(2):
        run_app("grown_student", tmp_path, "--smoke")
        outputs.append(json.loads((tmp_path / "grown_student" / "smoke" / "results.json").read_text()))
    assert outputs[0] == outputs[1]
    assert [row["arm"] for row in outputs[0]["arms"]] == list(Arm)
    for row in outputs[0]["arms"]:
        assert [training["seed"] for training in row["trainings"]] == [0, 1]
        for training in row["trainings"]:
            assert 0 <= training["spent"] - training["compute"] < training["last_step"]
            assert len(training["test_loss"]) == SETTINGS.test_goals
    assert "A smoke run" in (tmp_path / "grown_student" / "smoke" / "report.html").read_text()
