"""Episodes a second of the three rollout engines, and whether they give the same bytes.

    python packages/agents/benchmarks/rollout.py --goals 200 --workers 2

An agent by rule plays in a small maze whose steps take a set time, as a page of a shop does, so the figures show what
the engines cost and gain. The first figure of an engine includes starting its workers, the second is what a longer
rollout adds: (seconds of all goals - seconds of a quarter) / (three quarters of the goals).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from sightline.agents.grammar import webshop_grammar
from sightline.agents.records import Decision, Situation
from sightline.agents.rollout.in_process import InProcessEngine
from sightline.agents.rollout.job import Engine, RolloutJob
from sightline.agents.rollout.processes import ProcessEngine
from sightline.agents.rollout.ray import RayEngine
from sightline.agents.rollout.rollout import run_job

ROOMS = 12


class Maze:
    """Three to twelve rooms in a row; a step computes for a set time."""

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds = step_seconds
        self.goal, self.room = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Enter the maze."""
        self.goal, self.room = (options or {})["goal"], 0
        return self._view()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Go on by a room, whatever the action."""
        until = time.perf_counter() + self.step_seconds
        while time.perf_counter() < until:
            pass
        self.room += 1
        over = self.room == 3 + self.goal % (ROOMS - 2)
        page, info = self._view()
        return page, float(over), over, False, info

    def _view(self) -> tuple[str, dict[str, Any]]:
        available = {"has_search_bar": False, "clickables": [f"door {number}" for number in range(20)]}
        return f"room {self.room}\n" * 50, {"instruction_text": "find the way out", "available_actions": available}


class FirstDoor:
    """Takes the first action."""

    name = "first_door"

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        """One decision per situation."""
        return [Decision(one.actions[0], (1.0, *(0.0 for _ in one.actions[1:])), 1, 1) for one in situations]


def make_mazes(count: int, step_seconds: float) -> list[Maze]:
    return [Maze(step_seconds) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--goals", type=int, default=200, help="episodes of a rollout")
    parser.add_argument("--workers", type=int, default=2, help="processes or actors")
    parser.add_argument("--batch-size", type=int, default=16, help="episodes in lock-step")
    parser.add_argument("--step-milliseconds", type=float, default=5.0, help="what a step of the environment takes")
    arguments = parser.parse_args()
    job = RolloutJob(
        agent_name=FirstDoor.name,
        make_environments=partial(make_mazes, step_seconds=arguments.step_milliseconds / 1000),
        make_agent=FirstDoor,
        grammar=webshop_grammar,
        seed=0,
        max_steps=ROOMS,
        batch_size=arguments.batch_size,
    )

    def play(engine: Engine, goals: int) -> tuple[float, list[str]]:
        started = time.perf_counter()
        episodes = run_job(job, range(goals), engine=engine, progress=False)
        return time.perf_counter() - started, [episode.model_dump_json() for episode in episodes]

    expected: list[str] = []
    for name, engine in {
        "in process": InProcessEngine(),
        f"{arguments.workers} processes": ProcessEngine(arguments.workers),
        f"{arguments.workers} Ray actors": RayEngine(arguments.workers),
    }.items():
        quarter, _ = play(engine, arguments.goals // 4)
        seconds, lines = play(engine, arguments.goals)
        expected = expected or lines
        further = (arguments.goals - arguments.goals // 4) / max(seconds - quarter, 1e-9)
        print(
            f"{name:>14}: {arguments.goals / seconds:6.1f} episodes/s in all, {further:6.1f} further episodes/s, "
            f"{'same bytes' if lines == expected else 'OTHER BYTES'}"
        )


if __name__ == "__main__":
    main()
