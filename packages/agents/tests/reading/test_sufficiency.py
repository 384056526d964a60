from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents import RuleActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import ChunkLabel, expert_target, retrieval_examples, sufficient_chunks
from sightline.agents.reading.sufficiency import _fewest
from sightline.agents.records import Event, Situation
from sightline.agents.trajectory import Step, Trajectory
from sightline.retrieval import ChunkingConfig, HashingEncoder

CHUNKS = (
    "color\n  [button] red [button_]",
    "Lamp\nPrice: $9.0",
    "Review: nice.",
    "Review: waterproof.",
    "Review: blue.",
)
ACTIONS = ("click[< prev]", "click[red]", "click[buy now]")
TASK = "a red waterproof lamp"


def buys_what_it_read(task: str, shown: str, actions: Sequence[str]) -> str:
    if "waterproof" not in shown:
        return "click[< prev]"
    return "click[red]" if "click[red]" in actions else "click[buy now]"


LABEL = sufficient_chunks(RuleActor(buys_what_it_read), webshop_grammar, memory=False)


def situation(*values: float) -> Situation:
    page = "\n\n".join(CHUNKS)
    return Situation(TASK, (Event("OBS", page),), ACTIONS, values=values)


def test_what_the_actor_must_have_read_is_found_beside_what_it_clicks() -> None:
    assert LABEL(situation(0.0, 1.0, 0.5), CHUNKS) == (0, 3)
    assert LABEL(situation(0.0, 0.5, 1.0), CHUNKS[1:]) == (2,)


def test_nothing_is_needed_where_the_actor_does_well_unread_or_not_at_all() -> None:
    assert LABEL(situation(1.0, 0.0, 0.0), CHUNKS) == ()
    assert LABEL(situation(0.0, 0.0, 1.0), CHUNKS[:3]) == ()
    assert LABEL(Situation(TASK, (Event("OBS", ""),), ACTIONS), CHUNKS) == ()


@given(st.integers(1, 40), st.sets(st.integers(0, 39), min_size=1))
def test_of_needs_that_more_never_harms_exactly_these_are_found(count: int, wanted: set[int]) -> None:
    needed = {index for index in wanted if index < count}
    asked = 0

    def enough(kept: Sequence[int]) -> bool:
        nonlocal asked
        asked += 1
        return needed <= set(kept)

    assert set(_fewest(range(count), enough)) == needed
    assert asked <= 4 * count + 4


def test_of_two_that_say_the_same_one_is_found() -> None:
    pairs = [set(pair) for pair in combinations(range(3), 2)]
    assert len(_fewest(range(6), lambda kept: any(pair <= set(kept) for pair in pairs))) == 2


def episode() -> Trajectory:
    page = "\n\n".join(CHUNKS)
    steps = tuple(
        Step(
            observation=page,
            available_actions=ACTIONS,
            action=action,
            expert_action=action,
            values=tuple(float(action == each) for each in ACTIONS),
            reward=0.0,
        )
        for action in ("click[red]", "click[buy now]", "click[< prev]")
    )
    return Trajectory(
        episode_id="one",
        goal=0,
        agent="expert",
        seed=0,
        instruction=TASK,
        steps=steps,
        final_observation="",
        total_reward=0.0,
        terminated=False,
        truncated=True,
    )


@pytest.mark.parametrize(
    ("needed", "targets", "expected"),
    [(None, True, [(0,)]), (LABEL, True, [(0, 3), (3,)]), (lambda *_: (2,), False, [(2,), (2,), (2,)])],
)
def test_examples_are_labelled_by_clicks_by_needs_or_by_both(
    needed: ChunkLabel | None, targets: bool, expected: list[tuple[int, ...]]
) -> None:
    examples = retrieval_examples(
        [episode()],
        webshop_grammar,
        ChunkingConfig(max_characters=60),
        navigation=False,
        needed=needed,
        targets=targets,
    )
    assert [example.pos_idx for example in examples] == expected


def test_the_oracle_also_shows_what_is_needed() -> None:
    encoder = HashingEncoder()
    (plain,) = expert_target(encoder, webshop_grammar)([situation(0.0, 1.0, 0.5)], [CHUNKS])
    (asked,) = expert_target(encoder, webshop_grammar, LABEL)([situation(0.0, 1.0, 0.5)], [CHUNKS])
    assert set(np.argsort(-plain)[:1]) == {0}
    assert set(np.argsort(-asked)[:2]) == {0, 3}
