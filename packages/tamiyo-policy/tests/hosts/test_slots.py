import pytest
import torch

from sightline.tamiyo_policy.hosts.slots import LEGAL_TRANSITIONS, SlotStates, Stage

EVERYWHERE = torch.ones(1, 1, dtype=torch.bool)


def in_stage(stage: Stage) -> SlotStates:
    return SlotStates.empty(1, 1).update(EVERYWHERE, stage=stage)


@pytest.mark.parametrize("before", list(Stage))
@pytest.mark.parametrize("after", list(Stage))
def test_a_stage_is_entered_exactly_when_the_table_allows_it(before: Stage, after: Stage) -> None:
    states = in_stage(before).update(EVERYWHERE, epochs_in_stage=7)
    if after in LEGAL_TRANSITIONS[before]:
        entered = states.enter(EVERYWHERE, after)
        assert (entered.stage.item(), entered.epochs_in_stage.item()) == (after, 0)
    else:
        with pytest.raises(ValueError, match=f"{before.name} cannot become {after.name}"):
            states.enter(EVERYWHERE, after)


def test_nothing_follows_a_fossil() -> None:
    assert not LEGAL_TRANSITIONS[Stage.FOSSILIZED]


def test_an_illegal_transition_elsewhere_does_not_matter() -> None:
    states = SlotStates.empty(1, 2).update(torch.tensor([[True, False]]), stage=Stage.FOSSILIZED)
    entered = states.enter(torch.tensor([[False, True]]), Stage.GERMINATED)
    assert entered.stage.tolist() == [[Stage.FOSSILIZED, Stage.GERMINATED]]


def test_states_survive_being_written_down() -> None:
    states = in_stage(Stage.TRAINING).update(EVERYWHERE, alpha=0.25, blueprint=3, exploding=True)
    again = SlotStates.from_state_dict(states.state_dict())
    for name, tensor in states.state_dict().items():
        assert torch.equal(getattr(again, name), tensor)
        assert getattr(again, name).dtype == tensor.dtype


def test_written_states_are_a_copy() -> None:
    states = in_stage(Stage.TRAINING)
    states.state_dict()["alpha"].fill_(1.0)
    assert states.alpha.item() == 0.0


def test_unknown_missing_and_misshapen_fields_are_refused() -> None:
    tensors = SlotStates.empty(2, 3).state_dict()
    with pytest.raises(ValueError, match="moisture"):
        SlotStates.from_state_dict(tensors | {"moisture": tensors["alpha"]})
    with pytest.raises(ValueError, match="alpha"):
        SlotStates.from_state_dict({name: tensor for name, tensor in tensors.items() if name != "alpha"})
    with pytest.raises(ValueError, match="one shape"):
        SlotStates.from_state_dict(tensors | {"alpha": torch.zeros(2, 2)})


def test_rows_are_chosen_environment_by_environment() -> None:
    mixed = in_stage(Stage.HOLDING).select(torch.tensor([[True], [False]]), SlotStates.empty(2, 1))
    assert mixed.stage.tolist() == [[Stage.HOLDING], [Stage.DORMANT]]
