"""Agents in the real shop: the same episodes from every engine, and from an episode that was put down and taken up."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from sightline.agents.grammar import webshop_grammar
from sightline.agents.rollout.episode import Episode, EpisodeInProgress
from sightline.agents.rollout.in_process import InProcessEngine
from sightline.agents.rollout.job import Engine, RolloutJob
from sightline.agents.rollout.processes import ProcessEngine
from sightline.agents.rollout.rollout import run_job

# Ray leaves the streams that it opens to the garbage collector, which may run in any test after the first.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def jobs() -> Iterator[ModuleType]:
    """The module `engine_jobs`, where worker processes find it too."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("engine_jobs")
    torch.set_num_threads(threads)


def make_job(jobs: ModuleType, kind: str, **changes: Any) -> RolloutJob:
    make_agent, name = {
        "random_gated": (jobs.make_random_gated, "random_gated"),
        "student": (jobs.make_student, "baseline_react"),
    }[kind]
    return RolloutJob(
        agent_name=name,
        make_environments=jobs.open_environments,
        make_agent=make_agent,
        grammar=webshop_grammar,
        seed=0,
        max_steps=12,
        expert=jobs.expert,
        **changes,
    )


def lines(job: RolloutJob, goals: range, engine: Engine, **arguments: Any) -> list[str]:
    episodes = run_job(job, goals, engine=engine, progress=False, **arguments)
    assert [episode.goal for episode in episodes] == list(goals)
    assert not any(episode.error for episode in episodes)
    return [episode.model_dump_json() for episode in episodes]


def test_fifty_episodes_are_byte_equal_in_all_engines(jobs: ModuleType, cluster: Any) -> None:
    job, goals = make_job(jobs, "random_gated", batch_size=8), range(50)
    expected = lines(job, goals, InProcessEngine())
    assert lines(job, goals, ProcessEngine(2)) == expected
    assert lines(job, goals, cluster(2)) == expected
    # An agent by rule does not depend on its company either.
    assert lines(make_job(jobs, "random_gated", batch_size=50), goals, InProcessEngine()) == expected


@pytest.mark.slow
def test_the_students_episodes_are_byte_equal_in_all_engines_and_after_a_resumption(
    jobs: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    job, goals, journal = make_job(jobs, "student", batch_size=3), range(9), tmp_path / "journal.jsonl"
    expected = lines(job, goals, InProcessEngine(), journal=journal)
    assert lines(job, goals, ProcessEngine(2)) == expected
    assert lines(job, goals, cluster(2)) == expected
    content = journal.read_bytes()
    journal.write_bytes(content[: len(content) // 2])
    assert lines(job, goals, ProcessEngine(1), journal=journal) == expected


@pytest.mark.parametrize("kind", ["random_gated", "student"])
def test_an_episode_that_is_put_down_at_every_step_ends_the_same(jobs: ModuleType, tmp_path: Path, kind: str) -> None:
    job, path = make_job(jobs, kind, batch_size=1), tmp_path / "episode.json"
    agent = job.make_agent()
    for expected in run_job(job, range(3), engine=InProcessEngine(), progress=False):
        (environment,) = jobs.open_environments(1)
        episode = Episode(
            environment,
            webshop_grammar,
            agent=agent.name,
            goal=expected.goal,
            seed=0,
            max_steps=12,
            expert=jobs.expert,
        )
        while (situation := episode.situation) is not None:
            episode.pause().write(path)
            (environment,) = jobs.open_environments(1)
            episode = Episode.resume(environment, webshop_grammar, EpisodeInProgress.read(path), expert=jobs.expert)
            assert episode.situation == situation
            episode.take(agent.choose([situation])[0])
        assert episode.trajectory().model_dump_json() == expected.model_dump_json()
