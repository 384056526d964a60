from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.agents.selfplay import ConnectFour
from sightline.agents.selfplay.games.boards import pack
from sightline.agents.selfplay.learning.replay import ReplayBuffer, Targets

GAME = ConnectFour(5, 4)


def targets(states: Any) -> Targets:
    """Targets that tell which position they are of: its first legal action, and its number of stones as the value."""
    mover, other = pack(states)
    policy = np.zeros((len(states), 5), np.float32)
    policy[range(len(states)), [GAME.legal(state)[0] for state in states]] = 1
    value = np.array([(state.mover | state.other).bit_count() / 20 for state in states], np.float32)
    return Targets(mover, other, policy, value)


def test_the_oldest_positions_make_room(random_positions: Any) -> None:
    states = random_positions(GAME, 0, 25, range(1, 10))
    buffer = ReplayBuffer(10, 5)
    for start in range(0, 25, 7):
        buffer.add(targets(states[start : start + 7]))
    assert len(buffer) == 10
    assert buffer.added == 25
    held = {(int(m), int(o)) for m, o in zip(buffer.state()["mover"], buffer.state()["other"], strict=True)}
    assert held == {tuple(state) for state in states[15:]}
    buffer.add(targets(states))
    assert {int(m) for m in buffer.state()["mover"]} == {state.mover for state in states[15:]}


def test_samples_are_mirrored_with_their_policies(random_positions: Any) -> None:
    buffer = ReplayBuffer(100, 5)
    states = random_positions(GAME, 1, 40, range(2, 9))
    buffer.add(targets(states))
    planes, sample = buffer.sample(400, np.random.default_rng(0), GAME)
    as_they_are = GAME.planes(sample.boards)
    mirrored = [bool((planes[at] != as_they_are[at]).any()) for at in range(400)]
    assert 100 < sum(mirrored) < 300
    for at in range(400):
        expected = as_they_are[at, :, ::-1] if mirrored[at] else as_they_are[at]
        np.testing.assert_array_equal(planes[at], expected)
        assert sample.value[at] == np.float32(as_they_are[at].sum() / 20)
        first = int(sample.policy[at].argmax())
        column = planes[at].sum(axis=(0, 2))
        assert column[first] < 4  # the action named is legal on the planes shown
        full_before = column[:first] if not mirrored[at] else column[first + 1 :]
        if mirrored[at] or (as_they_are[at, :, ::-1] != as_they_are[at]).any():
            assert (full_before == 4).all()


def test_a_buffer_goes_on_from_its_state(random_positions: Any) -> None:
    states = random_positions(GAME, 2, 30, range(1, 9))
    buffer, again = ReplayBuffer(20, 5), ReplayBuffer(20, 5)
    buffer.add(targets(states))
    again.load_state(buffer.state())
    for one in (buffer, again):
        one.add(targets(states[:3]))
    first, second = (one.sample(50, np.random.default_rng(1), GAME) for one in (buffer, again))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1].policy, second[1].policy)
    with pytest.raises(ValueError, match="does not fit"):
        ReplayBuffer(10, 5).load_state(buffer.state())


def test_nothing_can_be_learnt_from_an_empty_buffer() -> None:
    with pytest.raises(ValueError, match="empty"):
        ReplayBuffer(10, 5).sample(1, np.random.default_rng(0), GAME)
    with pytest.raises(ValueError, match="capacity"):
        ReplayBuffer(0, 5)
