from __future__ import annotations

import base64
from typing import Any

import pytest

from sightline.agents.grammar import webshop_grammar
from sightline.agents.rollout.demonstrations import as_candidate, collect
from sightline.agents.trajectory import Trajectory


class Kiosk:
    """Search, then lamp or chair, then buy; even goals want the lamp."""

    def __init__(self) -> None:
        self.goal, self.page, self.seeds = 0, "home", []
        self.found_by: str | None = None  # the only query that finds anything; None means that all do

    def _view(self) -> tuple[str, dict[str, Any]]:
        clickables = {
            "home": ["search"],
            "results": ["lamp", "chair"],
            "nothing": ["back to search"],
            "lamp": ["back to search", "buy now"],
            "chair": ["back to search", "buy now"],
            "done": [],
        }[self.page]
        available = {"has_search_bar": self.page == "home", "clickables": clickables}
        return f"page {self.page}", {"instruction_text": "find me a desk lamp", "available_actions": available}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.goal, self.page = (options or {})["goal"], "home"
        self.seeds.append(seed)
        return self._view()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        reward = 0.0
        if action.startswith("search["):
            self.page = "results" if self.found_by in (None, action) else "nothing"
        elif action == "click[back to search]":
            self.page = "home"
        elif action == "click[buy now]":
            reward = float((self.page == "lamp") == (self.goal % 2 == 0))
            self.page = "done"
        elif action in ("click[lamp]", "click[chair]"):
            self.page = action[len("click[") : -1]
        observation, info = self._view()
        return observation, reward, self.page == "done", False, info

    def snapshot(self) -> bytes:
        return f"{self.goal} {self.page}".encode()


def expert(kiosk: Kiosk) -> str:
    wanted = "lamp" if kiosk.goal % 2 == 0 else "chair"
    if kiosk.page == "home":
        return "search[the expert's own words]"
    if kiosk.page == "results":
        return f"click[{wanted}]"
    return "click[Buy Now]" if kiosk.page == wanted else "click[back to search]"


def actions(trajectory: Trajectory) -> list[str]:
    return [step.action for step in trajectory.steps]


def test_the_demonstrators_episode_is_recorded_from_first_page_to_reward() -> None:
    (trajectory,) = collect(Kiosk(), [1], expert, webshop_grammar, seed=5, max_steps=10)
    assert actions(trajectory) == ["search[desk lamp]", "click[chair]", "click[buy now]"]
    assert [step.observation for step in trajectory.steps] == ["page home", "page results", "page chair"]
    assert trajectory.steps[1].available_actions == ("click[lamp]", "click[chair]")
    assert (trajectory.final_observation, trajectory.total_reward) == ("page done", 1.0)
    assert (trajectory.goal, trajectory.seed, trajectory.instruction) == (1, 5, "find me a desk lamp")
    assert (trajectory.terminated, trajectory.truncated, trajectory.error) == (True, False, None)
    assert trajectory.success


def test_without_exploration_the_label_is_the_executed_action() -> None:
    for trajectory in collect(Kiosk(), range(4), expert, webshop_grammar, seed=0, max_steps=10):
        assert all(step.expert_action == step.action for step in trajectory.steps)


def test_the_environment_is_reset_with_the_seed() -> None:
    kiosk = Kiosk()
    collect(kiosk, [0, 1], expert, webshop_grammar, seed=9, max_steps=10)
    assert kiosk.seeds == [9, 9]


def test_an_experts_repeated_search_becomes_the_next_proposal_and_at_last_its_own_words() -> None:
    kiosk = Kiosk()
    kiosk.found_by = "search[the expert's own words]"
    (trajectory,) = collect(kiosk, [0], expert, webshop_grammar, seed=0, max_steps=10)
    back = "click[back to search]"
    assert actions(trajectory) == [
        *("search[desk lamp]", back, "search[lamp]", back),
        *("search[the expert's own words]", "click[lamp]", "click[buy now]"),
    ]
    assert trajectory.steps[4].available_actions == (
        "search[desk lamp]",
        "search[lamp]",
        "search[the expert's own words]",
    )


def test_an_experts_search_where_no_search_bar_is_keeps_its_own_words() -> None:
    def impatient(kiosk: Kiosk) -> str:
        return "search[the expert's own words]" if kiosk.page == "nothing" else expert(kiosk)

    kiosk = Kiosk()
    kiosk.found_by = "search[the expert's own words]"
    (trajectory,) = collect(kiosk, [0], impatient, webshop_grammar, seed=0, max_steps=10)
    own = "search[the expert's own words]"
    assert actions(trajectory) == ["search[desk lamp]", own, "click[lamp]", "click[buy now]"]
    assert trajectory.steps[1].available_actions == ("click[back to search]", own)


def test_an_expert_action_outside_the_candidates_is_added_to_them() -> None:
    (trajectory,) = collect(Kiosk(), [0], lambda _: "click[hidden]", webshop_grammar, seed=0, max_steps=1)
    assert trajectory.steps[0].available_actions == ("search[desk lamp]", "search[lamp]", "click[hidden]")
    assert actions(trajectory) == ["click[hidden]"]


def test_an_episode_is_truncated_at_the_step_limit() -> None:
    (trajectory,) = collect(Kiosk(), [0], expert, webshop_grammar, seed=0, max_steps=2)
    assert (len(trajectory.steps), trajectory.truncated, trajectory.terminated) == (2, True, False)


def test_an_episode_that_ends_with_its_last_step_is_not_truncated() -> None:
    (trajectory,) = collect(Kiosk(), [0], expert, webshop_grammar, seed=0, max_steps=3)
    assert (trajectory.truncated, trajectory.terminated) == (False, True)


def test_exploration_disturbs_its_share_of_clicks_and_keeps_the_experts_label() -> None:
    trajectories = collect(Kiosk(), range(400), expert, webshop_grammar, seed=0, max_steps=30, exploration=0.4)
    at_results = [step for t in trajectories for step in t.steps if step.observation == "page results"]
    wrong = sum(step.action != step.expert_action for step in at_results) / len(at_results)
    assert wrong == pytest.approx(0.4 / 2, abs=0.05)  # half of the random clicks hit the expert's
    for trajectory in trajectories:
        wanted = "click[lamp]" if trajectory.goal % 2 == 0 else "click[chair]"
        assert all(step.expert_action == wanted for step in trajectory.steps if step.observation == "page results")


def test_exploration_never_searches() -> None:
    trajectories = collect(Kiosk(), range(50), expert, webshop_grammar, seed=0, max_steps=10, exploration=1.0)
    assert {t.steps[0].action for t in trajectories} == {"search[desk lamp]"}


def test_an_episode_depends_on_its_goal_and_the_seed_alone() -> None:
    def run(goals: list[int], seed: int) -> dict[int, Trajectory]:
        return {
            t.goal: t
            for t in collect(Kiosk(), goals, expert, webshop_grammar, seed=seed, max_steps=10, exploration=0.5)
        }

    whole, again, part, other = run([*range(30)], 0), run([*range(30)], 0), run([7, 3], 0), run([*range(30)], 1)
    assert whole == again
    assert part == {7: whole[7], 3: whole[3]}
    assert [actions(other[goal]) for goal in other] != [actions(whole[goal]) for goal in whole]


def test_snapshots_are_taken_before_each_action() -> None:
    (trajectory,) = collect(Kiosk(), [2], expert, webshop_grammar, seed=0, max_steps=10, snapshots=True)
    taken = [base64.b64decode(step.snapshot or "") for step in trajectory.steps]
    assert taken == [b"2 home", b"2 results", b"2 lamp"]


def test_a_broken_episode_is_kept_up_to_there_and_the_others_go_on() -> None:
    class Breaking(Kiosk):
        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            if self.goal == 1 and self.page == "results":
                raise RuntimeError("no connection")
            return super().step(action)

    first, broken, last = collect(Breaking(), [0, 1, 2], expert, webshop_grammar, seed=0, max_steps=10)
    assert broken.error == "RuntimeError: no connection"
    assert actions(broken) == ["search[desk lamp]"]
    assert broken.final_observation == "page results"
    assert not broken.terminated
    assert not broken.truncated
    assert first.success
    assert last.success


def test_an_episode_that_cannot_begin_is_recorded() -> None:
    class Closed(Kiosk):
        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[str, dict[str, Any]]:
            raise KeyError("no such goal")

    (trajectory,) = collect(Closed(), [0], expert, webshop_grammar, seed=0, max_steps=10)
    assert (trajectory.steps, trajectory.instruction, trajectory.error) == ((), "", "KeyError: 'no such goal'")


def test_a_wrong_probability_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exploration should be a probability from 0 to 1, not 1\.5"):
        collect(Kiosk(), [0], expert, webshop_grammar, seed=0, max_steps=10, exploration=1.5)


def test_a_step_limit_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="max_steps should be at least 1, not 0"):
        collect(Kiosk(), [0], expert, webshop_grammar, seed=0, max_steps=0)


def test_snapshots_of_an_environment_without_them_are_refused() -> None:
    class Plain:
        reset, step = Kiosk.reset, Kiosk.step

    with pytest.raises(TypeError, match=r"Plain has no snapshot\(\)"):
        collect(Plain(), [0], expert, webshop_grammar, seed=0, max_steps=10, snapshots=True)


def test_what_a_seed_explores_is_pinned() -> None:
    (trajectory,) = collect(Kiosk(), [7], expert, webshop_grammar, seed=3, max_steps=8, exploration=0.6)
    searched, wanted, back = ["search[desk lamp]", "search[lamp]"], "click[chair]", "click[back to search]"
    assert actions(trajectory) == [searched[0], wanted, back, searched[1], wanted, "click[buy now]"]


@pytest.mark.parametrize(
    ("action", "used", "expected"),
    [
        ("CLICK[lamp]", set(), "click[Lamp]"),
        ("search[own words]", set(), "search[desk lamp]"),
        ("search[own words]", {"search[desk lamp]"}, "search[lamp]"),
        ("search[own words]", {"search[desk lamp]", "search[lamp]"}, "search[own words]"),
        ("click[chair]", set(), "click[chair]"),
    ],
)
def test_a_demonstrators_action_is_a_candidate_where_one_stands_for_it(
    action: str, used: set[str], expected: str
) -> None:
    candidates = ("search[desk lamp]", "search[lamp]", "click[Lamp]")
    assert as_candidate(action, candidates, used, webshop_grammar) == expected
