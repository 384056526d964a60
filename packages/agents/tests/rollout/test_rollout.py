from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sightline.agents.actors.lexical import LexicalActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading.bounds import oracle_gated, random_gated
from sightline.agents.records import Attention, Decision, Situation
from sightline.agents.rollout.rollout import roll_out
from sightline.agents.trajectory import Trajectory
from sightline.retrieval import ChunkingConfig, HashingEncoder

COLORS = ("red", "blue", "green", "white", "black")
CHUNKING = ChunkingConfig(min_characters=1)


class ToyShop:
    """Search, then click the door of the task's color; goal g wants color g % 5 behind g % 3 antechambers.

    Goals in ``broken_resets`` and ``broken_steps`` raise.
    """

    def __init__(self, broken_resets: Sequence[int] = (), broken_steps: Sequence[int] = ()) -> None:
        self.broken_resets, self.broken_steps = broken_resets, broken_steps
        self.goal, self.depth = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        assert options is not None
        self.goal, self.depth = options["goal"], 0
        if self.goal in self.broken_resets:
            raise RuntimeError(f"goal {self.goal} is not there")
        return self._page(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self.goal in self.broken_steps and self.depth == 1:
            raise ConnectionError("the shop burnt down")
        self.depth += 1
        terminated = self.depth == 2 + self.goal % 3
        reward = float(terminated and action == expert(self))
        return self._page(), reward, terminated, False, self._info()

    def _page(self) -> str:
        doors = "\n\n".join(f"[button] {color} [button_]" for color in COLORS)
        return f"Instruction:\n{self._task()}\nroom {self.depth}\n\n{doors}"

    def _info(self) -> dict[str, Any]:
        available = {"has_search_bar": self.depth == 0, "clickables": list(COLORS) if self.depth else ["search"]}
        return {"instruction_text": self._task(), "available_actions": available}

    def _task(self) -> str:
        return f"find a {COLORS[self.goal % 5]} door"


def expert(environment: ToyShop) -> str:
    return f"click[{COLORS[environment.goal % 5]}]" if environment.depth else "search[an expert's words]"


class CountingAgent:
    """Takes the first candidate and notes how many situations came at once."""

    name = "counting"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        self.batches.append(len(situations))
        attention = (Attention("passed over", 0.1, False), Attention("read", 0.9, True))
        return [
            Decision(one.actions[0], (1.0,) + (0.0,) * (len(one.actions) - 1), 11, 3, attention) for one in situations
        ]


def run(environments: int, goals: Sequence[int], *, agent: Any = None, max_steps: int = 10) -> list[Trajectory]:
    agent = agent or random_gated(LexicalActor(webshop_grammar), webshop_grammar, seed=0, top_k=2, chunking=CHUNKING)
    shops = [ToyShop() for _ in range(environments)]
    return roll_out(shops, agent, goals, webshop_grammar, seed=0, max_steps=max_steps, progress=False)


@pytest.mark.parametrize("environments", [2, 3, 64])
def test_lock_step_equals_one_by_one(environments: int) -> None:
    goals = [*range(12), 3]
    assert run(environments, goals) == run(1, goals)


def test_results_come_in_the_order_of_the_goals() -> None:
    goals = [7, 2, 9, 2, 0]
    assert [trajectory.goal for trajectory in run(3, goals)] == goals


def test_every_call_decides_for_all_live_episodes() -> None:
    agent = CountingAgent()
    run(2, [0, 0, 0, 1], agent=agent)  # two, two, two and three steps
    assert agent.batches == [2, 2, 2, 2, 1]


def test_no_goals_give_no_episodes() -> None:
    assert run(2, []) == []


def test_a_broken_environment_costs_its_own_episode_only() -> None:
    goals = list(range(8))
    shops = [ToyShop(broken_resets=[2], broken_steps=[5]) for _ in range(3)]
    agent = random_gated(LexicalActor(webshop_grammar), webshop_grammar, seed=0, top_k=2, chunking=CHUNKING)
    broken = roll_out(shops, agent, goals, webshop_grammar, seed=0, max_steps=10, progress=False)
    assert broken[2].error == "RuntimeError: goal 2 is not there"
    assert broken[2].steps == ()
    assert broken[5].error == "ConnectionError: the shop burnt down"
    assert len(broken[5].steps) == 1
    whole = run(1, goals)
    assert [broken[goal] for goal in goals if goal not in (2, 5)] == [
        whole[goal] for goal in goals if goal not in (2, 5)
    ]


def test_a_page_without_actions_is_an_error_of_that_episode() -> None:
    class Dead(ToyShop):
        def _info(self) -> dict[str, Any]:
            return {
                "instruction_text": "x",
                "available_actions": {"has_search_bar": False, "clickables": ["search"]},
            }

    (trajectory,) = roll_out([Dead()], CountingAgent(), [0], webshop_grammar, seed=0, max_steps=5, progress=False)
    assert trajectory.error is not None
    assert "offers no action" in trajectory.error


def test_what_the_agent_raises_is_passed_on() -> None:
    class Confused(CountingAgent):
        def choose(self, situations: Sequence[Situation]) -> list[Decision]:
            raise LookupError("no idea")

    with pytest.raises(LookupError, match="no idea"):
        run(2, [0, 1], agent=Confused())


def test_the_step_limit_truncates() -> None:
    (trajectory,) = run(1, [2], max_steps=3)  # goal 2 needs four steps
    assert (len(trajectory.steps), trajectory.terminated, trajectory.truncated) == (3, False, True)
    (trajectory,) = run(1, [2], max_steps=4)
    assert (len(trajectory.steps), trajectory.terminated, trajectory.truncated) == (4, True, False)


def test_steps_hold_what_was_decided_and_which_chunks_were_read() -> None:
    (trajectory,) = run(1, [0], agent=CountingAgent())
    assert trajectory.agent == "counting"
    step = trajectory.steps[1]
    assert step.action == "click[red]"
    assert step.probabilities == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert (step.prompt_tokens, step.completion_tokens) == (11, 3)
    assert step.attention == (Attention("read", 0.9, True),)
    assert trajectory.success


def test_situations_hold_the_episode_so_far() -> None:
    seen: list[Situation] = []

    class Watching(CountingAgent):
        def choose(self, situations: Sequence[Situation]) -> list[Decision]:
            seen.extend(situations)
            return super().choose(situations)

    (trajectory,) = run(1, [1], agent=Watching())
    assert [situation.events for situation in seen] == [trajectory.events(t) for t in range(3)]


def test_the_oracle_hears_the_expert_and_succeeds() -> None:
    agent = oracle_gated(LexicalActor(webshop_grammar), HashingEncoder(32), webshop_grammar, top_k=1, chunking=CHUNKING)
    trajectories = roll_out(
        [ToyShop()], agent, range(6), webshop_grammar, seed=0, max_steps=10, expert=expert, progress=False
    )
    assert all(trajectory.success for trajectory in trajectories)
    first, second = trajectories[0].steps
    assert first.expert_action is None  # the expert's own words are not among the candidates
    assert second.expert_action == "click[red]"


def test_no_environment_and_no_step_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one environment"):
        run(0, [1])
    with pytest.raises(ValueError, match="max_steps should be at least 1, not 0"):
        run(1, [1], max_steps=0)
