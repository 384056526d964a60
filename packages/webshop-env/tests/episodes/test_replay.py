from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue, Shop, WebShopEnv
from sightline.webshop_env.episodes.recording import (
    RecordedStep,
    Recording,
    RecordingError,
    record,
    write_recordings,
)
from sightline.webshop_env.episodes.replay import replay, verify
from sightline.webshop_env.goals import GoalSet
from sightline.webshop_env.rules import PageKind

LAMP = ("search[desk lamp]", "click[b0lamp]", "click[red]", "click[small]", "click[buy now]")


def episode(shop: Shop, *actions: str, seed: int = 0, **arguments: Any) -> Recording:
    state, moments = shop.start(0, seed), []
    for action in actions:
        moments.append((state, action))
        state, _ = shop.act(state, action)
    return record(shop, moments, state, episode_id="lamp", agent="person", **arguments)


def altered(recording: Recording, step: int, **change: object) -> Recording:
    steps = list(recording.steps)
    steps[step] = steps[step].model_copy(update=change)
    return recording.model_copy(update={"steps": tuple(steps)})


@pytest.fixture
def bought(shop: Shop) -> Recording:
    return episode(shop, *LAMP)


PIECES = ("search[lamp]", "search[<r>]", "click[next >]", "click[b0lamp]", "click[café]", "click[< prev]", "dance[")


@given(st.lists(st.sampled_from([*PIECES, *LAMP]), max_size=12), st.integers(0, 99))
def test_whatever_was_recorded_reproduces(shop: Shop, actions: list[str], seed: int) -> None:
    recording = episode(shop, *actions, seed=seed)
    result = replay(shop, recording)
    assert result.reproduces
    assert result.steps == len(actions)
    assert str(result) == f"'lamp': {len(actions)} steps reproduce"


@pytest.mark.parametrize("mode", ["text", "text_rich", "html"])
@pytest.mark.parametrize("seed", [0, 11])
def test_an_agents_episode_reproduces_from_its_goal_and_seed(shop: Shop, mode: Any, seed: int) -> None:
    env = WebShopEnv(shop=shop, observation_mode=mode)
    observation, info = env.reset(seed=seed, options={"goal": 1})
    steps = []
    for action in (
        "search[a ceramic mug]",
        "search[<r> mug]",
        "click[next >]",
        "click[back to search]",
        "search[b0mug]",
    ):
        # An agent's candidates: its own search proposals, then the clicks.
        clicks = [f"click[{label}]" for label in info["available_actions"]["clickables"] if label != "search"]
        actions = ("search[a ceramic mug]", "search[mug]", *clicks)
        actions = actions if action in actions else (*actions, action)
        before = observation
        observation, reward, *_, info = env.step(action)
        steps.append(RecordedStep(observation=before, available_actions=actions, action=action, reward=reward))
    recording = Recording(
        episode_id="e",
        goal=1,
        agent="a",
        seed=seed,
        instruction=info["instruction_text"],
        steps=tuple(steps),
        final_observation=observation,
        total_reward=0.0,
        terminated=False,
        truncated=True,
    )
    assert str(replay(shop, recording)) == "'e': 5 steps reproduce"
    # The random results come from the seed, so that another one shows.
    assert "step 2, observation" in str(replay(shop, recording.model_copy(update={"seed": seed + 1})))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation": "Instruction: [SEP] nonsense"}, "step 2, observation from character 19: recorded "),
        ({"reward": 0.5}, "step 2, reward: recorded 0.5, here 0.0"),
        ({"available_actions": ("click[red]", "click[free]")}, "step 2, available_actions: recorded ('click[red]', "),
    ],
)
def test_the_first_difference_of_a_step_is_named(shop: Shop, bought: Recording, change: dict, message: str) -> None:
    result = replay(shop, altered(bought, 2, **change))
    assert not result.reproduces
    assert len(result.differences) == 1
    assert message in str(result)


def test_an_offered_click_that_was_not_recorded_is_a_difference(shop: Shop, bought: Recording) -> None:
    fewer = tuple(a for a in bought.steps[1].available_actions if a != "click[back to search]")
    (difference,) = replay(shop, altered(bought, 1, available_actions=fewer)).differences
    assert (difference.step, difference.field) == (1, "available_actions")


def test_search_proposals_and_an_experts_own_action_are_no_difference(shop: Shop, bought: Recording) -> None:
    own = ("search[lamp]", *bought.steps[1].available_actions, "click[b0mug]")
    assert replay(shop, altered(bought, 1, available_actions=own, expert_action="click[b0mug]")).reproduces


def test_another_state_in_a_snapshot_is_a_difference(shop: Shop, bought: Recording) -> None:
    (difference,) = replay(shop, altered(bought, 2, snapshot=bought.steps[1].snapshot)).differences
    assert (difference.step, difference.field) == (2, "snapshot.kind")
    assert "search_results" in str(difference)


def test_a_damaged_snapshot_in_mid_episode_is_a_difference(shop: Shop, bought: Recording) -> None:
    (difference,) = replay(shop, altered(bought, 2, snapshot="AAAA")).differences
    assert "not a snapshot" in str(difference.replayed)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"final_observation": "else"}, "final_observation"),
        ({"terminated": False}, "terminated"),
        ({"total_reward": 0.9}, "total_reward"),
        ({"instruction": "another"}, "instruction"),
    ],
)
def test_a_difference_in_the_episode_as_a_whole_is_named(
    shop: Shop, bought: Recording, change: dict, field: str
) -> None:
    (difference,) = replay(shop, bought.model_copy(update=change)).differences
    assert difference.field == field


def test_later_differences_are_counted(shop: Shop, bought: Recording) -> None:
    result = replay(shop, altered(altered(bought, 1, observation="x"), 3, reward=0.25))
    assert str(result).endswith("; 1 later pages differ too")
    assert [difference.step for difference in result.differences] == [1, 3]


def test_another_catalogue_is_said_not_raised(shop: Shop, goals: GoalSet, bought: Recording) -> None:
    other = Shop(Catalogue.from_products([*shop.catalogue][:-1]), goals)
    result = replay(other, bought)
    assert result.steps == 0
    assert "other catalogue" in str(result.differences[0].replayed)


def test_a_goal_that_is_not_there_is_said_not_raised(shop: Shop, bought: Recording) -> None:
    recording = altered(bought, 0, snapshot=None).model_copy(update={"goal": 9})
    assert replay(shop, recording).differences[0].field == "goal"


def test_an_episode_that_never_began_reproduces(shop: Shop) -> None:
    never = Recording(
        episode_id="e",
        goal=77,
        agent="a",
        seed=0,
        instruction="",
        steps=(),
        final_observation="",
        total_reward=0.0,
        terminated=False,
        truncated=False,
        error="RuntimeError: no connection",
    )
    assert replay(shop, never).reproduces


def test_a_message_stays_readable_whatever_was_recorded(shop: Shop, bought: Recording) -> None:
    recording = altered(bought, 1, observation="\x1b[2J" * 100_000).model_copy(update={"episode_id": "x" * 100_000})
    message = str(replay(shop, recording))
    assert len(message) < 400
    assert "\x1b" not in message


def test_a_file_is_verified_episode_by_episode(tmp_path: Path, shop: Shop, bought: Recording) -> None:
    path = tmp_path / "episodes.jsonl"
    write_recordings(path, [bought, altered(bought, 0, observation="x"), bought])
    assert [result.reproduces for result in verify(shop, path)] == [True, False, True]


def test_a_file_that_holds_something_else_is_an_error(tmp_path: Path, shop: Shop) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text("{}")
    with pytest.raises(RecordingError, match="line 1"):
        list(verify(shop, path))


def test_a_difference_of_rules_is_found(shop: Shop, catalogue: Catalogue, goals: GoalSet, bought: Recording) -> None:
    class Dearer(Shop):
        def act(self, state, action, page=None):
            after, outcome = super().act(state, action)
            if after.kind is PageKind.DONE:
                after, outcome = after._replace(reward=0.5), replace(outcome, reward=0.5)
            return after, outcome

    result = replay(Dearer(catalogue, goals, show_attributes=True), bought)
    assert [(each.step, each.field) for each in result.differences] == [(4, "reward"), (5, "final_observation")]


def test_a_snapshot_begins_an_episode_in_its_middle(shop: Shop, bought: Recording) -> None:
    middle = bought.model_copy(update={"steps": bought.steps[2:]})
    assert replay(shop, middle).reproduces
