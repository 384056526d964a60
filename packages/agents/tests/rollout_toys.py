"""An environment and an agent that worker processes can import."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sightline.agents.grammar import webshop_grammar
from sightline.agents.records import Decision, Situation
from sightline.agents.rollout.job import RolloutJob
from sightline.agents.rollout.rollout import run_job
from sightline.agents.trajectory import Trajectory

COLORS = ("red", "blue", "green", "white", "black")


class Corridor:
    """Search, then click the door of the task's color; goal g wants color g % 5 at the end of g % 4 rooms.

    Goals in ``broken`` raise in room 1. Goals in ``deadly`` kill the process in ``death_room``: always, or only the
    first time where there is a folder, ``deaths``, to remember it.
    """

    def __init__(
        self,
        broken: Sequence[int] = (),
        deadly: Sequence[int] = (),
        death_room: int = 1,
        deaths: Path | None = None,
    ) -> None:
        self.broken, self.deadly, self.death_room, self.deaths = broken, deadly, death_room, deaths
        self.goal = self.depth = self.errors = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        assert options is not None
        self.goal, self.depth, self.errors = options["goal"], 0, 0
        return self._page(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self.depth == 1 and self.goal in self.broken:
            raise ConnectionError("the corridor burnt down")
        if self.depth == self.death_room and self.goal in self.deadly:
            self._die()
        self.depth += 1
        self.errors += action != walker(self)
        terminated = self.depth >= 2 + self.goal % 4
        return self._page(), float(terminated and self.errors < 2), terminated, False, self._info()

    def snapshot(self) -> bytes:
        return json.dumps([self.goal, self.depth, self.errors]).encode()

    def restore(self, snapshot: bytes) -> str:
        self.goal, self.depth, self.errors = json.loads(snapshot)
        return self._page()

    def _die(self) -> None:
        if self.deaths is not None:
            mark = self.deaths / str(self.goal)
            if mark.exists():
                return
            mark.touch()
        time.sleep(0.05)  # let what was sent before arrive
        os.kill(os.getpid(), signal.SIGKILL)

    def _page(self) -> str:
        return f"room {self.depth}, {self.errors} errors\n\n" + "\n\n".join(
            f"[button] {one} [button_]" for one in COLORS
        )

    def _info(self) -> dict[str, Any]:
        available = {"has_search_bar": self.depth == 0, "clickables": list(COLORS) if self.depth else ["search"]}
        return {"instruction_text": f"find a {COLORS[self.goal % 5]} door", "available_actions": available}


class HashAgent:
    """Takes an action that looks random and depends on the episode so far alone."""

    name = "hash"

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        return [self._decide(situation) for situation in situations]

    def _decide(self, situation: Situation) -> Decision:
        weights = [
            1 + hashlib.blake2b(repr((situation.events, action)).encode(), digest_size=1).digest()[0]
            for action in situation.actions
        ]
        best = max(range(len(weights)), key=weights.__getitem__)
        return Decision(situation.actions[best], tuple(one / sum(weights) for one in weights), len(weights), 1)


class CompanyAgent(HashAgent):
    """Its probabilities tell how many situations came at once, as a language model's do by rounding."""

    name = "company"

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        share = 1e-9 * len(situations)
        return [
            Decision(one.actions[0], (1 - share, share, *(0.0 for _ in one.actions[2:])), 1, 1) for one in situations
        ]


class ConfusedAgent(HashAgent):
    """Raises."""

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        raise LookupError("no idea")


def walker(corridor: Corridor) -> str:
    return f"click[{COLORS[corridor.goal % 5]}]" if corridor.depth else "search[an expert's words]"


def corridors(count: int, **arguments: Any) -> list[Corridor]:
    return [Corridor(**arguments) for _ in range(count)]


def no_corridors(count: int) -> list[Corridor]:
    raise FileNotFoundError(f"no plan of {count} corridors")


def corridors_with_gpu(count: int) -> list[Corridor]:
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):
        raise OSError("no GPU")
    return corridors(count)


def make_corridors_or_die(count: int) -> list[Corridor]:
    os.kill(os.getpid(), signal.SIGKILL)
    return corridors(count)


def make_job(*, make_agent: Any = None, **changes: Any) -> RolloutJob:
    make_agent = make_agent or HashAgent
    arguments: dict[str, Any] = {"make_environments": corridors, "batch_size": 4} | changes
    return RolloutJob(
        agent_name=make_agent.name, make_agent=make_agent, grammar=webshop_grammar, seed=0, max_steps=6, **arguments
    )


def run(job: RolloutJob, goals: Any, engine: Any, **arguments: Any) -> list[Trajectory]:
    return run_job(job, goals, engine=engine, progress=False, **arguments)


def lines(trajectories: list[Trajectory]) -> list[str]:
    return [trajectory.model_dump_json() for trajectory in trajectories]


class Plain:
    """A corridor without a way back."""

    __init__ = Corridor.__init__
    reset, step, _page, _info = Corridor.reset, Corridor.step, Corridor._page, Corridor._info


def plain_corridors(count: int) -> list[Plain]:
    return [Plain() for _ in range(count)]


def square(number: int) -> int:
    return number * number


def square_or_die(number: int, folder: Path, *, deadly: int) -> int:
    """Kill the process at `deadly`, the first time only when there is a file `once`."""
    mark = folder / "died"
    if number == deadly and not (mark.exists() and (folder / "once").exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(number)


def note(name: str, folder: Path) -> float:
    """Write down that a name was done, and when it began."""
    began = time.monotonic()
    with (folder / "done").open("a") as file:
        file.write(f"{name}\n")
    return began


def process_id(_: int) -> int:
    return os.getpid()


def refuse(number: int) -> int:
    raise LookupError(f"no idea of {number}")


class Pair(BaseModel):
    number: int
    square: int


def pair(number: int) -> Pair:
    return Pair(number=number, square=square(number))
