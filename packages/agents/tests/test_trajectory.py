from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.agents.records import Attention, Event
from sightline.agents.trajectory import Step, Trajectory, read_trajectories, write_trajectories
from sightline.retrieval.jsonl import RecordError

numbers = st.floats(allow_nan=False, allow_infinity=False)
attentions = st.builds(Attention, text=st.text(), score=numbers, selected=st.booleans())


@st.composite
def steps(draw: st.DrawFn) -> Step:
    actions = tuple(draw(st.lists(st.text(), min_size=1, max_size=4)))
    probabilities = st.lists(numbers, min_size=len(actions), max_size=len(actions)).map(tuple)
    return Step(
        observation=draw(st.text()),
        available_actions=actions,
        action=draw(st.sampled_from(actions)),
        expert_action=draw(st.none() | st.sampled_from(actions)),
        reward=draw(numbers),
        probabilities=draw(st.none() | probabilities),
        attention=tuple(draw(st.lists(attentions, max_size=2))),
        prompt_tokens=draw(st.integers(0, 10**6)),
        completion_tokens=draw(st.integers(0, 10**6)),
        snapshot=draw(st.none() | st.text()),
    )


trajectories = st.builds(
    Trajectory,
    episode_id=st.text(),
    goal=st.integers(0, 10**6),
    agent=st.text(),
    seed=st.integers(0, 2**31),
    instruction=st.text(),
    steps=st.lists(steps(), max_size=3).map(tuple),
    final_observation=st.text(),
    total_reward=numbers,
    terminated=st.booleans(),
    truncated=st.booleans(),
    error=st.none() | st.text(),
)


def shopping(*rewards: float) -> Trajectory:
    return Trajectory(
        episode_id="a",
        goal=3,
        agent="expert",
        seed=0,
        instruction="a lamp",
        steps=tuple(
            Step(
                observation=f"page {t}",
                available_actions=(f"click[{t}]", "click[other]"),
                action=f"click[{t}]",
                expert_action="click[other]",
                reward=reward,
            )
            for t, reward in enumerate(rewards)
        ),
        final_observation="the end",
        total_reward=sum(rewards),
        terminated=True,
        truncated=False,
    )


@given(st.lists(trajectories, max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, written: list[Trajectory]) -> None:
    path = tmp_path_factory.mktemp("round-trip") / "episodes.jsonl"
    write_trajectories(path, written)
    assert list(read_trajectories(path)) == written
    assert path.read_bytes().count(b"\n") == len(written)


def test_events_end_with_the_observation_asked_for() -> None:
    trajectory = shopping(0.0, 1.0)
    first, action = Event("OBS", "page 0"), Event("ACT", "click[0]")
    assert trajectory.events(0) == (first,)
    assert trajectory.events(1) == (first, action, Event("OBS", "page 1"))
    assert trajectory.events(2)[-2:] == (Event("ACT", "click[1]"), Event("OBS", "the end"))


@pytest.mark.parametrize("t", [-1, 3])
def test_an_observation_that_is_not_there_is_refused(t: int) -> None:
    with pytest.raises(IndexError, match=f"'a' has observations 0 to 2, not {t}"):
        shopping(0.0, 1.0).events(t)


@given(trajectories)
def test_situations_give_what_was_known_and_what_was_done(trajectory: Trajectory) -> None:
    pairs = list(trajectory.situations())
    assert [action for _, action in pairs] == [step.action for step in trajectory.steps]
    for t, (situation, _) in enumerate(pairs):
        step = trajectory.steps[t]
        assert situation.events == trajectory.events(t)
        assert (situation.observation, situation.actions) == (step.observation, step.available_actions)
        assert (situation.instruction, situation.expert_action) == (trajectory.instruction, step.expert_action)


@pytest.mark.parametrize(
    ("rewards", "success"),
    [((0.0, 1.0), True), ((0.0, 1 - 1e-12), True), ((1.0, 0.0), False), ((0.99,), False), ((), False)],
)
def test_success_is_a_full_reward_at_the_end(rewards: tuple[float, ...], success: bool) -> None:
    assert shopping(*rewards).success is success


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": "click[absent]"}, r"action 'click\[absent\]' should be one of available_actions"),
        ({"expert_action": "click[absent]"}, r"expert_action 'click\[absent\]' should be one of available_actions"),
        ({"probabilities": (1.0,)}, "one per available action"),
        ({"reward": float("nan")}, "finite"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_a_step_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Step.model_validate(shopping(0.0).steps[0].model_dump() | change)


def test_a_wrong_line_is_named_by_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    write_trajectories(path, [shopping(0.0), shopping(1.0)])
    lines = path.read_text().splitlines()
    record = json.loads(lines[1])
    record["steps"][0]["reward"] = "much"
    path.write_text(lines[0] + "\n" + json.dumps(record) + "\n")
    reader = read_trajectories(path)
    assert next(reader) == shopping(0.0)
    with pytest.raises(RecordError, match=r"episodes\.jsonl, line 2, field 'steps\.0\.reward': .*found 'much'"):
        next(reader)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(schema_version=2), r"field 'schema_version': Input should be 1, but found 2"),
        (lambda record: record.pop("goal"), r"field 'goal': Field required"),
        (lambda record: record.update(colour="red"), r"field 'colour': Extra inputs"),
        (
            lambda record: record["steps"][0].update(attention=[{"text": "", "score": 0, "selected": True, "x": 1}]),
            r"'steps\.0\.attention\.0\.x'",
        ),
    ],
)
def test_missing_unknown_and_other_versions_fields_are_errors(tmp_path: Path, change, message: str) -> None:
    record = json.loads(shopping(0.0).model_dump_json())
    change(record)
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps(record))
    with pytest.raises(RecordError, match=message):
        list(read_trajectories(path))


def test_a_line_cut_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text(shopping(0.0).model_dump_json()[:-40])
    with pytest.raises(RecordError, match="line 1: Invalid JSON"):
        list(read_trajectories(path))


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    write_trajectories(path, [shopping(1.0)])

    def interrupted() -> Iterator[Trajectory]:
        yield shopping(0.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_trajectories(path, interrupted())
    assert list(read_trajectories(path)) == [shopping(1.0)]


def test_an_episode_knows_where_it_began_to_go_to_and_fro() -> None:
    episode = shopping(*[0.0] * 8)
    assert episode.loop_step is None
    pages = ("start", "list", "one", "list", "two", "list", "three", "list")
    steps = [step.model_copy(update={"observation": page}) for step, page in zip(episode.steps, pages, strict=True)]
    assert episode.model_copy(update={"steps": tuple(steps)}).loop_step == 5
