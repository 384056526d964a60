import math

import pytest
import torch

from sightline.tamiyo_policy.growth.observation import HISTORY, HostSignals, ObservationLayout, observe, symlog
from sightline.tamiyo_policy.hosts.operations import Op
from sightline.tamiyo_policy.hosts.slots import SlotStates, Stage

LAYOUT = ObservationLayout.named("v116")


def view(states: SlotStates, signals: HostSignals, layout: ObservationLayout = LAYOUT) -> dict[str, list[float]]:
    """The first environment's features by name; a slot's are prefixed with its index."""
    values = observe(states, signals, layout, horizon=60, gamma=0.99)[0][0]
    return {
        f"{'' if slot is None else f'{slot}.'}{feature.name}": values[start : start + feature.size].tolist()
        for feature, slot, start in layout.columns()
    }


@pytest.mark.parametrize(("name", "dimension"), [("v114", 114), ("v116", 116)])
def test_named_layouts_have_the_dimension_of_their_name(name: str, dimension: int) -> None:
    layout = ObservationLayout.named(name)  # ty: ignore[invalid-argument-type]  # the parameter is a plain string
    observation, _ = observe(SlotStates.empty(2, 3), HostSignals.start(2), layout, horizon=60, gamma=0.99)
    assert layout.dimension == dimension
    assert observation.shape == (2, dimension)
    assert observation.dtype == torch.float32


@pytest.mark.parametrize("num_slots", [1, 2, 5])
def test_the_dimension_grows_with_the_slots(num_slots: int) -> None:
    assert ObservationLayout.named("v114", num_slots).dimension == 24 + 30 * num_slots
    assert ObservationLayout(num_slots).dimension == 23 + 31 * num_slots


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="'v9'"):
        ObservationLayout.named("v9")  # ty: ignore[invalid-argument-type]  # the wrong name is the test


def test_the_table_covers_every_column_once() -> None:
    end = 0
    for column in LAYOUT.columns():
        assert column.start == end
        end += column.feature.size
    assert end == LAYOUT.dimension == len(LAYOUT.continuous())
    assert LAYOUT.bounds().shape == (2, LAYOUT.dimension)


def test_flags_and_sentinels_are_never_standardised() -> None:
    continuous = LAYOUT.continuous().tolist()
    kinds = {(c.feature.kind, continuous[c.start + i]) for c in LAYOUT.columns() for i in range(c.feature.size)}
    assert kinds == {("continuous", True), ("binary", False), ("sentinel", False)}


def test_an_empty_slot_is_zero_and_has_no_blueprint() -> None:
    observation, blueprints = observe(SlotStates.empty(1, 3), HostSignals.start(1), LAYOUT, horizon=60, gamma=0.99)
    assert not bool(observation[0, 23:].any())
    assert blueprints.tolist() == [[-1, -1, -1]]


def test_features_show_what_they_are_named_for() -> None:
    at = torch.tensor([[False, True, False]])
    states = SlotStates.empty(1, 3).update(
        at,
        stage=Stage.BLENDING,
        blueprint=5,
        alpha=0.25,
        alpha_target=0.7,
        alpha_mode=1,
        alpha_steps_total=6,
        alpha_steps_done=2,
        tempo_steps=3,
        operator=2,
        contribution=-9.0,
        contribution_age=3,
        health=1.0,
        previous_health=0.5,
        gradient_norm=2.0,
        vanishing=True,
        epochs_in_stage=12,
        age=30,
    )
    signals = HostSignals.start(1).record(loss=torch.tensor([1.5]), accuracy=torch.tensor([40.0]))
    signals = signals.acted(op=torch.tensor([int(Op.ADVANCE)]), success=torch.tensor([False]))
    seen = view(states, signals)
    assert seen["1.stage"] == [float(stage == Stage.BLENDING) for stage in Stage]
    expected = {
        "progress_of_episode": 1 / 60,
        "loss": math.log(2.5) / 7,
        "accuracy": 0.4,
        "share_blending": 1 / 3,
        "share_training": 0.0,
        "last_action_success": 0.0,
        "1.active": 1.0,
        "1.alpha": 0.25,
        "1.alpha_target": 0.7,
        "1.alpha_mode": 0.5,
        "1.ramp_steps_total": 0.1,
        "1.ramp_steps_done": 2 / 60,
        "1.time_to_target": 4 / 60,
        "1.tempo": 0.25,
        "1.operator": 1.0,
        "1.contribution": -math.log(10) / math.log(101),
        "1.contribution_freshness": 0.99**3,
        "1.health": 1.0,
        "1.previous_health": 0.5,
        "1.gradient_norm": math.log(3) / 7,
        "1.vanishing": 1.0,
        "1.exploding": 0.0,
        "1.epochs_in_stage": 0.2,
        "1.age": 0.5,
    }
    assert {name: seen[name][0] for name in expected} == pytest.approx(expected)
    assert seen["last_op"] == [float(op == Op.ADVANCE) for op in Op]
    assert seen["loss_history"] == pytest.approx([-1.0] * (HISTORY - 1) + [math.log(2.5) / 7])
    assert seen["accuracy_history"] == pytest.approx([-1.0] * (HISTORY - 1) + [0.4])


@pytest.mark.parametrize(("age", "expected"), [(-1, -1.0), (0, 1.0), (2, 0.99**2)])
def test_a_contribution_is_fresh_when_measured_and_marked_when_it_never_was(age: int, expected: float) -> None:
    at = torch.tensor([[False, True, False]])
    states = SlotStates.empty(1, 3).update(at, stage=Stage.BLENDING, blueprint=5, contribution_age=age)
    assert view(states, HostSignals.start(1))["1.contribution_freshness"] == pytest.approx([expected])


def test_the_history_keeps_the_last_validations_in_order() -> None:
    signals = HostSignals.start(1)
    for accuracy in range(10, 80, 10):
        signals = signals.record(loss=torch.ones(1), accuracy=torch.tensor([float(accuracy)]))
    assert signals.accuracy_history.tolist() == [[30.0, 40.0, 50.0, 60.0, 70.0]]


def test_a_host_is_stable_after_three_steady_losses_and_stays_so() -> None:
    signals = HostSignals.start(1)
    seen = []
    for loss in (2.0, 1.99, 1.98, 1.97, 1.0):
        signals = signals.record(loss=torch.tensor([loss]), accuracy=torch.zeros(1))
        seen.append((signals.steady_epochs.item(), signals.stabilized.item()))
    assert seen == [(0, False), (1, False), (2, False), (3, True), (0, True)]


def test_a_lost_loss_is_finite_in_the_observation() -> None:
    signals = HostSignals.start(1).record(loss=torch.tensor([math.nan]), accuracy=torch.zeros(1))
    assert view(SlotStates.empty(1, 3), signals)["loss"][0] == pytest.approx(math.log1p(1e6) / 7)


def test_symlog_is_odd_and_logarithmic() -> None:
    values = symlog(torch.tensor([-100.0, 0.0, 100.0]))
    assert values.tolist() == pytest.approx([-math.log(101), 0.0, math.log(101)])


def test_a_layout_for_other_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="3 slots"):
        observe(SlotStates.empty(1, 2), HostSignals.start(1), LAYOUT, horizon=60, gamma=0.99)
