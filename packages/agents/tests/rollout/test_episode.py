from __future__ import annotations

import base64
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.grammar import webshop_grammar
from sightline.agents.records import Decision
from sightline.agents.rollout.episode import Episode, EpisodeInProgress
from sightline.agents.trajectory import Trajectory
from sightline.retrieval.jsonl import RecordError


def begin(toys: ModuleType, goal: int, *, expert: Any = None, max_steps: int = 10, **arguments: Any) -> Episode:
    environment = toys.Corridor(**arguments)
    return Episode(environment, webshop_grammar, agent="hash", goal=goal, seed=4, max_steps=max_steps, expert=expert)


def finish(toys: ModuleType, episode: Episode, *, after: int = 100) -> Episode:
    agent = toys.HashAgent()
    for _ in range(after):
        if episode.situation is None:
            break
        episode.take(agent.choose([episode.situation])[0])
    return episode


def whole(toys: ModuleType, goal: int, **arguments: Any) -> Trajectory:
    return finish(toys, begin(toys, goal, **arguments)).trajectory()


@given(goal=st.integers(0, 100), after=st.integers(0, 4), max_steps=st.integers(1, 6))
def test_a_saved_episode_ends_as_if_it_had_not_been_interrupted(
    toys: ModuleType, tmp_path_factory: pytest.TempPathFactory, goal: int, after: int, max_steps: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "episode.json"
    expected = whole(toys, goal, expert=toys.walker, max_steps=max_steps)
    if after >= len(expected.steps):
        return
    finish(toys, begin(toys, goal, expert=toys.walker, max_steps=max_steps), after=after).pause().write(path)
    resumed = Episode.resume(toys.Corridor(), webshop_grammar, EpisodeInProgress.read(path), expert=toys.walker)
    found = finish(toys, resumed).trajectory()
    assert found.model_dump_json() == expected.model_dump_json()


def test_pausing_does_not_disturb_the_episode(toys: ModuleType) -> None:
    episode = finish(toys, begin(toys, 3), after=2)
    assert episode.pause() == episode.pause()
    assert finish(toys, episode).trajectory() == whole(toys, 3)


def test_the_resumed_agent_sees_what_it_would_have_seen(toys: ModuleType) -> None:
    episode = finish(toys, begin(toys, 3, expert=toys.walker), after=3)
    resumed = Episode.resume(toys.Corridor(), webshop_grammar, episode.pause(), expert=toys.walker)
    assert resumed.situation is not None
    assert len(resumed.situation.events) == 7
    assert resumed.situation == episode.situation


def test_an_error_after_the_resumption_is_recorded_with_the_steps_before_it(toys: ModuleType) -> None:
    saved = finish(toys, begin(toys, 3), after=1).pause()
    found = finish(toys, Episode.resume(toys.Corridor(broken=[3]), webshop_grammar, saved)).trajectory()
    assert found == whole(toys, 3, broken=[3])
    assert (found.error, len(found.steps)) == ("ConnectionError: the corridor burnt down", 1)


def test_a_decision_that_is_an_error_ends_its_episode_with_it(toys: ModuleType) -> None:
    episode = finish(toys, begin(toys, 3), after=2)
    episode.take(Decision("", (), 5, 0, error="ParseFailure: no number"))
    found = episode.trajectory()
    assert (found.error, found.success, found.terminated) == ("ParseFailure: no number", False, False)
    assert found.steps == whole(toys, 3).steps[:2]


def test_another_environment_than_the_episodes_own_is_refused(toys: ModuleType) -> None:
    class Other(toys.Corridor):
        def _page(self) -> str:
            return "elsewhere"

    with pytest.raises(ValueError, match="restores the page 'elsewhere', but the episode of goal 3 was saved on 'room"):
        Episode.resume(Other(), webshop_grammar, begin(toys, 3).pause())


def test_an_environment_without_snapshots_cannot_be_paused(toys: ModuleType) -> None:
    class Plain:
        reset, step = toys.Corridor.reset, toys.Corridor.step
        _page, _info = toys.Corridor._page, toys.Corridor._info

    episode = Episode(Plain(), webshop_grammar, agent="hash", goal=0, seed=0, max_steps=3)
    with pytest.raises(TypeError, match=r"Plain has no snapshot\(\)"):
        episode.pause()


def test_a_file_that_is_no_episode_is_refused_with_its_field(tmp_path: Path) -> None:
    (tmp_path / "episode.json").write_text('{"agent": "hash"}')
    with pytest.raises(RecordError, match=r"episode\.json, field 'goal'"):
        EpisodeInProgress.read(tmp_path / "episode.json")


def test_what_an_episode_cannot_do_yet_or_any_more_is_an_error(toys: ModuleType) -> None:
    episode = begin(toys, 0)
    with pytest.raises(RuntimeError, match="goal 0 is not over"):
        episode.trajectory()
    (decision,) = toys.HashAgent().choose([episode.situation])
    finish(toys, episode)
    for act in (lambda: episode.take(decision), episode.pause):
        with pytest.raises(RuntimeError, match="goal 0 is over"):
            act()


def test_steps_keep_the_states_they_were_taken_in_if_asked(toys: ModuleType) -> None:
    corridor, agent = toys.Corridor(), toys.HashAgent()
    episode = Episode(corridor, webshop_grammar, agent="hash", goal=3, seed=0, max_steps=6, snapshots=True)
    before = []
    while (situation := episode.situation) is not None:
        before.append(corridor.snapshot())
        episode.take(agent.choose([situation])[0])
    steps = episode.trajectory().steps
    assert [base64.b64decode(step.snapshot or "") for step in steps] == before
    for step in steps:
        assert toys.Corridor().restore(base64.b64decode(step.snapshot or "")) == step.observation


def test_a_resumed_episode_keeps_states_as_the_whole_one_does(toys: ModuleType) -> None:
    def play(episode: Episode) -> str:
        while episode.situation is not None:
            episode.take(toys.HashAgent().choose([episode.situation])[0])
        return episode.trajectory().model_dump_json()

    def start() -> Episode:
        return Episode(toys.Corridor(), webshop_grammar, agent="hash", goal=3, seed=0, max_steps=6, snapshots=True)

    stopped = start()
    stopped.take(toys.HashAgent().choose([stopped.situation])[0])
    resumed = Episode.resume(toys.Corridor(), webshop_grammar, stopped.pause(), snapshots=True)
    assert play(resumed) == play(start())
