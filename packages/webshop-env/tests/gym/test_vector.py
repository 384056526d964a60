from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from sightline.webshop_env import Catalogue, GoalError, Shop, SnapshotError, WebShopEnv, build_goals, expert_action
from sightline.webshop_env.gym.vector import WebShopVectorEnv

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden" / "webshop"
MODES = tuple(AutoresetMode)
LAMP = ("search[desk lamp]", "click[b0lamp]", "click[red]", "click[small]", "click[buy now]")


@pytest.fixture(scope="module")
def generated() -> Shop:
    catalogue = Catalogue.generate(60, seed=1)
    return Shop(catalogue, build_goals(catalogue, "synthetic", 0))


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal values of equal types, all the way down."""
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert_same(ours.tolist(), theirs.tolist())
    elif isinstance(theirs, tuple | list):
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    else:
        assert ours == theirs


def choose(rng: random.Random, state: Any, shop: Shop) -> str:
    """Mostly what an expert does, so that episodes end; sometimes a random click, a search or nonsense."""
    if rng.random() < 0.7:
        return expert_action(shop, state)
    labels = list(shop.page(state).targets)
    return rng.choice([f"click[{rng.choice(labels)}]" if labels else "x", "search[<r>]", "search[steel]", "nonsense"])


def play_side_by_side(ours: WebShopVectorEnv, theirs: SyncVectorEnv, steps: int, seed: int) -> int:
    """Step both with the same actions and compare everything; returns how many episodes ended."""
    rng = random.Random(seed)
    mode = ours.autoreset_mode
    assert_same(ours.reset(seed=seed), theirs.reset(seed=seed))
    ended = 0
    for _ in range(steps):
        states = theirs.get_attr("state")
        assert ours.states == states
        actions = [choose(rng, state, ours.shop) for state in states]
        result = ours.step(actions)
        assert_same(result, theirs.step(tuple(actions)))
        over = result[2] | result[3]
        ended += int(over.sum())
        if mode is AutoresetMode.DISABLED and over.any():
            options = {"reset_mask": over}
            assert_same(ours.reset(options=options), theirs.reset(options={"reset_mask": over.copy()}))
            assert list(options) == ["reset_mask"]
    return ended


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "arguments",
    [{"step_limit": 6}, {"observation_mode": "text_rich", "previous_observations": 2, "previous_actions": 1}],
)
def test_it_does_to_the_letter_what_gymnasiums_does(
    generated: Shop, mode: AutoresetMode, arguments: dict[str, Any]
) -> None:
    ours = WebShopVectorEnv(3, shop=generated, autoreset_mode=mode, **arguments)
    theirs = SyncVectorEnv([lambda: WebShopEnv(shop=generated, **arguments)] * 3, autoreset_mode=mode)
    assert ours.metadata == theirs.metadata
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert play_side_by_side(ours, theirs, steps=60, seed=2) > 5


@pytest.mark.parametrize(("seed", "plain"), [(None, None), (5, 5), (np.int64(5), 5), ((5, 8, 9), [5, 8, 9])])
def test_seeds_are_dealt_out_as_gymnasium_does(generated: Shop, seed: Any, plain: Any) -> None:
    ours = WebShopVectorEnv(3, shop=generated)
    theirs = SyncVectorEnv([lambda: WebShopEnv(shop=generated)] * 3)
    ours.reset(seed=1)
    theirs.reset(seed=1)
    assert_same(ours.reset(seed=seed), theirs.reset(seed=plain))


def test_a_seed_of_none_goes_on_with_the_draws_of_its_episode(generated: Shop) -> None:
    ours = WebShopVectorEnv(2, shop=generated)
    ours.reset(seed=[1, 2])
    first = ours.reset(seed=[1, None])[1]["instruction_text"]
    theirs = SyncVectorEnv([lambda: WebShopEnv(shop=generated)] * 2)
    theirs.reset(seed=[1, 2])
    assert first.tolist() == theirs.reset(seed=[1, None])[1]["instruction_text"].tolist()


def test_a_mask_reseeds_only_what_it_chooses(generated: Shop) -> None:
    ours = WebShopVectorEnv(3, shop=generated, autoreset_mode=AutoresetMode.DISABLED)
    theirs = SyncVectorEnv([lambda: WebShopEnv(shop=generated)] * 3, autoreset_mode=AutoresetMode.DISABLED)
    assert_same(ours.reset(seed=1), theirs.reset(seed=1))
    mask = np.array([True, False, True])
    same = {"reset_mask": mask.copy(), "goal": 4}
    assert_same(ours.reset(seed=7, options={"reset_mask": mask, "goal": 4}), theirs.reset(seed=7, options=same))


def test_every_episode_can_have_its_own_goal(shop: Shop) -> None:
    envs = WebShopVectorEnv(3, shop=shop)
    for goals in ([2, 0, 1], (2, 0, 1), np.array([2, 0, 1])):
        _, infos = envs.reset(options={"goal": goals})
        assert [state.goal for state in envs.states] == [2, 0, 1]
    assert infos["instruction_text"].tolist() == [envs.shop.goals.goals[i].instruction_text for i in (2, 0, 1)]
    envs.reset(options={"goal": 1})
    assert [state.goal for state in envs.states] == [1, 1, 1]
    envs.reset(seed=3, options={"goal": [None, 0, None]})
    alone = WebShopEnv(shop=shop)
    alone.reset(seed=3)
    assert envs.states[0] == alone.state
    assert envs.states[1].goal == 0


@pytest.mark.parametrize(
    ("seed", "options", "error", "message"),
    [
        (None, {"goal": [0, 1, 9]}, GoalError, "there is no goal 9"),
        (None, {"goal": [0, 1]}, ValueError, "one goal for each of the 3"),
        (None, {"goal": ["x", 0, 0]}, TypeError, "integer"),
        (None, {"goals": [0, 1, 2]}, ValueError, "did you mean 'goal'"),
        ([1, 2], None, ValueError, "one seed for each of the 3"),
        (None, {"reset_mask": [True, False, False]}, TypeError, "array of bool"),
        (None, {"reset_mask": np.zeros(3, dtype=np.bool_)}, ValueError, "a True in it"),
        (None, {"reset_mask": np.ones(2, dtype=np.bool_)}, ValueError, r"shape \(3,\)"),
    ],
)
def test_a_wrong_reset_is_explained_and_changes_nothing(
    shop: Shop, seed: Any, options: Any, error: type[Exception], message: str
) -> None:
    envs = WebShopVectorEnv(3, shop=shop)
    envs.reset(seed=0)
    before = envs.states
    with pytest.raises(error, match=message):
        envs.reset(seed=seed, options=options)
    assert envs.states == before


@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        (["search[x]"], ValueError, "each of the 2 episodes, not 1"),
        (["search[x]", 3], TypeError, r"not 3 \(at 1\)"),
        (["search[x]", None], TypeError, "not None"),
    ],
)
def test_wrong_actions_are_explained_and_step_nothing(
    shop: Shop, actions: Any, error: type[Exception], message: str
) -> None:
    envs = WebShopVectorEnv(2, shop=shop)
    envs.reset(seed=0)
    before = envs.states
    with pytest.raises(error, match=message):
        envs.step(actions)
    assert envs.states == before


def test_a_step_before_the_first_reset_asks_for_one(shop: Shop) -> None:
    envs = WebShopVectorEnv(2, shop=shop)
    with pytest.raises(ResetNeeded):
        envs.step(["x", "x"])
    with pytest.raises(ResetNeeded, match="leave out reset_mask"):
        envs.reset(options={"reset_mask": np.array([True, False])})


def test_an_ended_episode_that_is_left_out_of_a_reset_stays_ended(shop: Shop) -> None:
    envs = WebShopVectorEnv(2, shop=shop, autoreset_mode="Disabled", step_limit=1)
    envs.reset(seed=0)
    envs.step(["search[x]", "search[x]"])
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"episodes \[1\] have ended"):
        envs.step(["search[x]", "search[x]"])


def test_an_ended_episode_without_autoreset_must_be_reset(shop: Shop) -> None:
    envs = WebShopVectorEnv(2, shop=shop, autoreset_mode="Disabled", step_limit=1)
    envs.reset(seed=0)
    assert envs.step(["x", "x"])[3].all()
    with pytest.raises(ResetNeeded, match=r"episodes \[0, 1\] have ended"):
        envs.step(["x", "x"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"num_envs": 2, "num_workers": 3}, "num_workers must be 0 to num_envs"),
        ({"num_envs": 2, "autoreset_mode": "sometimes"}, "sometimes"),
        ({"num_envs": 2, "observation_mode": "image"}, "observation_mode must be one of"),
    ],
)
def test_wrong_arguments_are_explained(shop: Shop, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WebShopVectorEnv(shop=shop, **arguments)


def test_rendering_is_that_of_each_episode(shop: Shop) -> None:
    envs = WebShopVectorEnv(2, shop=shop, render_mode="ansi", observation_mode="text_rich")
    observations, _ = envs.reset(seed=0)
    assert envs.render() == observations
    assert WebShopVectorEnv(2, shop=shop).render() is None


@pytest.mark.parametrize("mode", MODES)
def test_restored_episodes_go_on_as_they_would_have(generated: Shop, mode: AutoresetMode) -> None:
    def play(envs: WebShopVectorEnv, steps: int) -> list[Any]:
        rng = random.Random(8)
        seen = []
        for _ in range(steps):
            result = envs.step([choose(rng, state, generated) for state in envs.states])
            seen.append((result[0], result[1].tolist(), result[2].tolist(), result[3].tolist()))
            if (result[2] | result[3]).any() and mode is not AutoresetMode.NEXT_STEP:
                break  # the next goal is drawn by a generator, which no snapshot holds
        return seen

    envs = WebShopVectorEnv(4, shop=generated, autoreset_mode=mode, previous_actions=1)
    envs.reset(seed=3)
    play(envs, 2)
    saved, infos = envs.snapshot(), envs.infos
    first = play(envs, 4)
    other = WebShopVectorEnv(4, shop=generated, autoreset_mode=mode, previous_actions=1)
    other.restore(saved)
    assert_same(other.infos, infos)
    again = play(other, 4)
    assert again[0] == first[0]
    assert [each[1:] for each in again] == [each[1:] for each in first]


def test_one_snapshot_becomes_many_episodes(shop: Shop) -> None:
    env = WebShopEnv(shop=shop)
    env.reset(options={"goal": 0})
    for action in LAMP[:-1]:
        observation = env.step(action)[0]
    envs = WebShopVectorEnv(3, shop=shop)
    assert envs.restore([env.snapshot()] * 3) == (observation,) * 3
    rewards = envs.step(["click[buy now]", "click[large]", "click[blue]"])[1]
    assert rewards.tolist() == [1.0, 0.0, 0.0]
    assert envs.states[2].options != envs.states[1].options


def test_episodes_without_a_snapshot_stay_where_they_are(shop: Shop) -> None:
    envs = WebShopVectorEnv(2, shop=shop)
    envs.reset(seed=0)
    saved = envs.snapshot()
    observations = envs.step(["search[mug]", "search[lamp]"])[0]
    assert envs.restore([saved[0], None])[1] == observations[1]
    assert [state.query for state in envs.states] == ["", "lamp"]


@pytest.mark.parametrize(
    ("bad", "error"),
    [(b"junk", SnapshotError), ("text", SnapshotError), (bytearray(9), SnapshotError), (..., ValueError)],
)
def test_a_refused_snapshot_changes_no_episode(shop: Shop, bad: Any, error: type[Exception]) -> None:
    envs = WebShopVectorEnv(2, shop=shop)
    envs.reset(seed=0)
    saved = envs.snapshot()
    envs.step(["search[mug]", "search[lamp]"])
    before = envs.states
    with pytest.raises(error):
        envs.restore([saved[0]] if bad is ... else [saved[0], bad])
    assert envs.states == before


def test_an_episode_that_never_began_needs_a_snapshot(shop: Shop) -> None:
    envs = WebShopVectorEnv(2, shop=shop)
    other = WebShopVectorEnv(2, shop=shop)
    other.reset(seed=0)
    with pytest.raises(ResetNeeded):
        envs.restore([other.snapshot()[0], None])


@pytest.mark.parametrize("mode", MODES)
def test_a_restored_end_is_an_end(shop: Shop, mode: AutoresetMode) -> None:
    env = WebShopEnv(shop=shop)
    env.reset(options={"goal": 0})
    for action in LAMP:
        env.step(action)
    envs = WebShopVectorEnv(1, shop=shop, autoreset_mode=mode)
    envs.reset(seed=0)
    envs.restore([env.snapshot()])
    if mode is AutoresetMode.DISABLED:
        with pytest.raises(ResetNeeded):
            envs.step(["search[x]"])
    elif mode is AutoresetMode.NEXT_STEP:
        assert envs.step(["search[x]"])[0][0].startswith("WebShop")


def test_episodes_that_search_for_the_same_search_once(generated: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(generated.catalogue, generated.goals)
    asked: list[str] = []
    search = shop.index.search
    monkeypatch.setattr(shop.index, "search", lambda query, k: [asked.append(query), search(query, k)][1])
    envs = WebShopVectorEnv(6, shop=shop)
    envs.reset(seed=0)
    envs.step(["search[steel]", "search[sun care]"] * 3)
    envs.step(["search[sun care]"] * 6)
    assert asked == ["steel", "sun care"]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the recordings are not at {GOLDEN}")
def test_the_recordings_of_the_original_replay_side_by_side() -> None:
    catalogue = Catalogue.from_official(
        products=GOLDEN / "items_shuffle.json",
        attributes=GOLDEN / "items_ins_v2.json",
        human=GOLDEN / "items_human_ins.json",
    )
    lines = map(json.loads, (GOLDEN / "traces_human.jsonl").read_text(encoding="utf-8").splitlines())
    episodes = [line for line in lines if line["kind"] == "episode"]
    envs = WebShopVectorEnv(len(episodes), catalogue, goals="human", seed=42, autoreset_mode=AutoresetMode.SAME_STEP)
    observations, _ = envs.reset(options={"goal": [episode["goal_index"] for episode in episodes]})
    assert list(observations) == [episode["reset"]["text"] for episode in episodes]
    playing = set(range(len(episodes)))
    bought = 0
    for number in range(max(len(episode["steps"]) for episode in episodes)):
        playing -= {i for i in playing if number >= len(episodes[i]["steps"])}
        actions = [episode["steps"][number]["action"] if i in playing else "x" for i, episode in enumerate(episodes)]
        observations, rewards, terminations, _, infos = envs.step(actions)
        for i in sorted(playing):
            step = episodes[i]["steps"][number]
            shown = infos["final_obs"][i] if terminations[i] else observations[i]
            assert (shown, terminations[i]) == (step["text"], step["done"])
            assert rewards[i] == pytest.approx(step["reward"], abs=1e-9)
            if terminations[i]:
                playing.remove(i)
                bought += 1
    assert bought > 5


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_infos_say_which_actions_were_valid_and_what_was_wrong_with_others(shop: Shop, num_workers: int) -> None:
    env = WebShopVectorEnv(3, shop=shop, num_workers=num_workers)
    try:
        env.reset(options={"goal": 0})
        *_, infos = env.step(["search[lamp]", "look around", "click[Search]"])
        assert infos["action_is_valid"].tolist() == [True, False, False]
        assert infos["_action_error"].tolist() == [False, True, True]
        assert infos["action_error"][1:].tolist() == [
            "an action is search[words] or click[label], not 'look around'",
            "the search bar takes words: search[words]",
        ]
    finally:
        env.close()
