from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Catalogue, Shop, ShopState, WebShopEnv, WebShopError, build_goals, render_rich
from sightline.webshop_env.episodes import recording as module
from sightline.webshop_env.episodes.recording import (
    Recording,
    RecordingError,
    first_state,
    parse_recording,
    read_recordings,
    record,
    state_at,
    write_recordings,
)

LAMP = ("search[desk lamp]", "click[b0lamp]", "click[Red]", "click[small]", "click[buy now]")


def play(shop: Shop, *actions: str, goal: int = 0, seed: int = 0) -> tuple[list[tuple[ShopState, str]], ShopState]:
    state, moments = shop.start(goal, seed), []
    for action in actions:
        moments.append((state, action))
        state, _ = shop.act(state, action)
    return moments, state


@pytest.fixture
def bought(shop: Shop) -> Recording:
    return record(shop, *play(shop, *LAMP), episode_id="lamp", agent="person")


def test_a_recording_shows_what_an_environment_shows(shop: Shop, bought: Recording) -> None:
    env = WebShopEnv(shop=shop)
    observation, info = env.reset(options={"goal": 0})
    rewards = []
    for step in bought.steps:
        offered = [f"click[{label}]" for label in info["available_actions"]["clickables"] if label != "search"]
        assert step.observation == observation
        assert list(step.available_actions) == offered + [step.action] * (step.action not in offered)
        observation, reward, terminated, truncated, info = env.step(step.action)
        rewards.append(reward)
    assert [step.reward for step in bought.steps] == rewards == [0, 0, 0, 0, 1]
    assert (bought.final_observation, bought.total_reward) == (observation, 1.0)
    assert (bought.terminated, bought.truncated) == (terminated, truncated) == (True, False)
    assert bought.instruction == info["instruction_text"]


def test_a_click_in_capitals_is_recorded_as_the_page_offers_it(bought: Recording) -> None:
    assert bought.steps[2].action == "click[red]"
    assert bought.steps[2].available_actions.count("click[red]") == 1


def test_an_invalid_action_is_kept_and_counted_among_those_available(shop: Shop) -> None:
    recording = record(shop, *play(shop, "dance"), episode_id="e", agent="a")
    assert recording.steps[0].available_actions == ("dance",)


@pytest.mark.parametrize("action", ["search[\ud800]", "search[a]" + "b" * 20_000, "click[\udfff", "search[x]\ud800"])
def test_an_action_that_no_file_can_hold_is_recorded_as_one_that_does_the_same(shop: Shop, action: str) -> None:
    moments, final = play(shop, action, "search[lamp]")
    recording = record(shop, moments, final, episode_id="e", agent="a")
    assert len(recording.steps[0].action) <= 10_001
    assert shop.act(moments[0][0], recording.steps[0].action)[0] == moments[1][0]


def test_observations_are_drawn_as_asked(shop: Shop) -> None:
    moments, final = play(shop, "search[mug]")
    recording = record(shop, moments, final, episode_id="e", agent="a", render=render_rich)
    assert recording.final_observation == render_rich(shop.page(final))


def test_states_that_do_not_follow_each_other_are_refused(shop: Shop) -> None:
    moments, final = play(shop, *LAMP)
    with pytest.raises(RecordingError, match="step 1: 'click\\[b0lamp\\]' does not lead to"):
        record(shop, [*moments[:2], *moments[3:]], final, episode_id="e", agent="a")


def test_more_steps_than_a_recording_holds_are_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 4)
    with pytest.raises(RecordingError, match="at most 4 steps, not 5"):
        record(shop, *play(shop, *LAMP), episode_id="e", agent="a")


PIECES = (
    "search[lamp]",
    "search[<r>]",
    "click[next >]",
    "click[b0lamp]",
    "click[café]",
    "click[< prev]",
    "x",
    "\ud800[",
)


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.integers(0, 2), st.booleans())
def test_every_state_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, shop: Shop, actions: list[str], goal: int, keep_snapshots: bool
) -> None:
    start = first_state(shop, record(shop, [], shop.start(goal), episode_id="e", agent="a", seed=5))
    moments, final = play(shop, *actions, goal=goal, seed=start.seed)
    recording = record(shop, moments, final, episode_id="e", agent="a", seed=5)
    if not keep_snapshots:
        steps = tuple(step.model_copy(update={"snapshot": None}) for step in recording.steps)
        recording = recording.model_copy(update={"steps": steps})
    path = tmp_path_factory.mktemp("recordings") / "episode.jsonl"
    write_recordings(path, [recording])
    (read,) = read_recordings(path)
    assert read == recording
    expected = [state for state, _ in moments] + [final]
    assert [state_at(shop, read, step) for step in range(len(expected))] == expected


def test_an_episode_that_began_before_the_recording_is_found_again(shop: Shop) -> None:
    moments, final = play(shop, *LAMP, seed=9)
    recording = record(shop, moments[2:], final, episode_id="e", agent="a")
    assert [state_at(shop, recording, step) for step in range(3)] == [state for state, _ in moments[2:]]
    assert state_at(shop, recording, 3) == final


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_an_episode_without_snapshots_begins_as_the_environment_began_it(shop: Shop, seed: int) -> None:
    env = WebShopEnv(shop=shop)
    env.reset(seed=seed, options={"goal": 1})
    assert first_state(shop, record(shop, [], env.state, episode_id="e", agent="a", seed=seed)) == env.state


@pytest.mark.parametrize("step", [-1, 6])
def test_a_step_that_is_not_there_is_an_index_error(shop: Shop, bought: Recording, step: int) -> None:
    with pytest.raises(IndexError, match=f"pages 0 to 5, not {step}"):
        state_at(shop, bought, step)


@pytest.mark.parametrize(("change", "message"), [({"goal": 3}, "there is no goal 3"), ({"seed": -1}, "cannot begin")])
def test_a_recording_that_cannot_begin_here_is_explained(shop: Shop, change: dict[str, int], message: str) -> None:
    recording = record(shop, [], shop.start(0), episode_id="e", agent="a").model_copy(update=change)
    with pytest.raises(RecordingError, match=message):
        state_at(shop, recording, 0)


def test_a_snapshot_of_another_shop_is_named_with_its_step(shop: Shop, bought: Recording) -> None:
    catalogue = Catalogue.generate(20)
    other = Shop(catalogue, build_goals(catalogue, "synthetic", 0))
    with pytest.raises(RecordingError, match=r"'lamp', step 1, snapshot: .*other catalogue"):
        state_at(other, bought, 1)


def test_a_snapshot_that_is_not_base64_is_named(shop: Shop, bought: Recording) -> None:
    step = bought.steps[0].model_copy(update={"snapshot": "U0xX*"})
    with pytest.raises(RecordingError, match="step 0, snapshot: not base64"):
        state_at(shop, bought.model_copy(update={"steps": (step,)}), 0)


AGENTS_LINE = (
    '{"schema_version":1,"episode_id":"bc-seed0-goal1","goal":1,"agent":"bc","seed":0,"instruction":"a mug",'
    '"steps":[{"observation":"page","available_actions":["search[mug]","click[x]"],"action":"search[mug]",'
    '"expert_action":null,"values":null,"reward":0.0,"probabilities":[0.75,0.25],"attention":[{"text":"chunk","score":0.5,'
    '"selected":true}],"consultation":{"ids":["a"],"texts":["a guide"],"backend":"local","stale":false,"error":null},'
    '"prompt_tokens":3,"completion_tokens":1,"snapshot":null}],'
    '"final_observation":"last","total_reward":0.0,"terminated":false,"truncated":true,"error":null}'
)
"""As the package that runs agents writes a trajectory."""


def test_an_agents_trajectory_is_read_and_written_back_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text(AGENTS_LINE + "\n\n" + AGENTS_LINE + "\n")
    recordings = list(read_recordings(path))
    assert recordings[0].steps[0].attention[0].text == "chunk"
    write_recordings(path, recordings)
    assert path.read_text() == (AGENTS_LINE + "\n") * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"goal":1,', "", "field 'goal': Field required"),
        ('"goal":1', '"goal":"one"', "field 'goal'"),
        ('"score":0.5', '"score":NaN', "field 'steps.0.attention.0.score'"),
        ('"reward":0.0', '"reward":0.0,"cheat":1', "field 'steps.0.cheat'"),
        ('"action":"search[mug]"', '"action":"dance"', "'dance' should be one of available_actions"),
        ("[0.75,0.25]", "[1.0]", "one per available action \\(2, not 1\\)"),
        ('"schema_version":1', '"schema_version":2', "field 'schema_version'"),
        ('{"schema', "{{", "Invalid JSON"),
    ],
)
def test_a_wrong_line_is_named_by_file_line_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text(f"{AGENTS_LINE}\n{AGENTS_LINE.replace(old, new, 1)}\n")
    reading = read_recordings(path)
    next(reading)
    with pytest.raises(RecordingError, match=f"episodes.jsonl, line 2.*{message}"):
        next(reading)


def test_an_error_quotes_no_more_than_a_line(tmp_path: Path) -> None:
    with pytest.raises(RecordingError) as caught:
        parse_recording(AGENTS_LINE.replace('"goal":1', f'"goal":"{"x" * 100_000}"'), where="upload")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_line_beyond_the_bound_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "episodes.jsonl"
    path.write_text(AGENTS_LINE + "\n" + AGENTS_LINE.replace("page", "é" * 300) + ending)
    reading = read_recordings(path)
    next(reading)
    with pytest.raises(RecordingError, match="line 2: longer than 1,000 bytes"):
        next(reading)
    with pytest.raises(RecordingError, match="upload: longer than"):
        parse_recording("x" * 1001, where="upload")


def test_more_steps_than_allowed_are_refused() -> None:
    record = json.loads(AGENTS_LINE)
    small = {"observation": "", "available_actions": ["x"], "action": "x", "reward": 0}
    record["steps"] = [small] * 100_001
    with pytest.raises(RecordingError, match=r"field 'steps'.*at most 100000"):
        parse_recording(json.dumps(record), where="upload")


def test_what_could_not_be_read_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bought: Recording
) -> None:
    path = tmp_path / "episodes.jsonl"
    write_recordings(path, [bought])
    before = path.read_bytes()
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 1000)
    with pytest.raises(RecordingError, match="'lamp' takes more than 1,000 bytes"):
        write_recordings(path, [bought])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_half_way_leaves_the_old_file(tmp_path: Path, bought: Recording) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text("old")

    def recordings():
        yield bought
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_recordings(path, recordings())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_every_error_of_a_recording_is_one_of_the_shops() -> None:
    assert issubclass(RecordingError, WebShopError)
    assert issubclass(RecordingError, ValueError)


def test_reading_recordings_does_without_gymnasium() -> None:
    code = "import sys, sightline.webshop_env.episodes.recording; sys.exit('gymnasium' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
