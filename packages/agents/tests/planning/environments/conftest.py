from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from sightline.agents import Decision, Situation

PRODUCTS = {
    "B000000001": ("Red desk lamp", "$20.00", {"color": ["red", "blue"]}, "It is dimmable and bright."),
    "B000000002": ("Desk lamp, classic", "$35.00", {"color": ["red", "green"], "size": ["small", "large"]}, "Plain."),
    "B000000003": ("Garden lamp", "$15.00", {}, "For the garden."),
}
GOAL = {"asin": "B000000001", "color": "red"}


class ToyShop:
    """Three lamps; the goal is hidden in the environment and pays 1 for the right lamp in red, .5 for the lamp alone.

    The page after a purchase tells its reward, as that of the real shop does.
    """

    instruction = "Find me a dimmable desk lamp with color: red, and price lower than 30.00 dollars"

    def __init__(self, goal: dict[str, str] | None = None, *, step_limit: int = 12) -> None:
        self.goal = goal or GOAL
        self.step_limit = step_limit
        self.restored = 0
        self._state: dict[str, Any] = {}
        self.reset()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._state = {"page": "index", "asin": "", "chosen": {}, "steps": 0, "reward": None}
        return self._page(), self.info

    @property
    def info(self) -> dict[str, Any]:
        clicks = self._clicks()
        available = {"has_search_bar": self._state["page"] == "index", "clickables": clicks}
        return {"instruction_text": self.instruction, "available_actions": available, "goal": self.goal}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        state = self._state = json.loads(json.dumps(self._state))
        state["steps"] += 1
        target = action[action.index("[") + 1 : -1]
        reward = 0.0
        if action.startswith("search") and state["page"] == "index":
            state["page"] = "results"
        elif target not in self._clicks():
            pass
        elif target.upper() in PRODUCTS:
            state.update(page="item", asin=target.upper(), chosen={})
        elif target == "buy now":
            reward = state["reward"] = self._reward()
            state["page"] = "done"
        elif target == "back to search":
            state.update(page="index", asin="", chosen={})
        elif target == "< prev":
            state["page"] = "item" if state["page"] == "description" else "results"
        elif target == "description":
            state["page"] = "description"
        else:
            groups = PRODUCTS[state["asin"]][2]
            state["chosen"][next(name for name, values in groups.items() if target in values)] = target
        done = state["page"] == "done"
        info = {**self.info, "reward_info": {"r": reward}} if done else self.info
        return self._page(), reward, done, not done and state["steps"] >= self.step_limit, info

    def snapshot(self) -> bytes:
        return json.dumps(self._state, sort_keys=True).encode()

    def restore(self, snapshot: bytes) -> str:
        self.restored += 1
        self._state = json.loads(snapshot)
        return self._page()

    def _reward(self) -> float:
        right = self._state["asin"] == self.goal["asin"]
        return 0.5 * right + 0.5 * (right and self._state["chosen"].get("color") == self.goal["color"])

    def _clicks(self) -> list[str]:
        page = self._state["page"]
        if page == "results":
            return ["back to search", *(asin.lower() for asin in PRODUCTS)]
        if page == "description":
            return ["back to search", "< prev"]
        if page != "item":
            return []
        values = [value for group in PRODUCTS[self._state["asin"]][2].values() for value in group]
        return ["back to search", "< prev", "description", "buy now", *values]

    def _page(self) -> str:
        state = self._state
        lines = [f"You have clicked {value}." for value in state["chosen"].values()] if state["page"] == "item" else []
        lines += ["Instruction:", self.instruction]
        if state["page"] == "results":
            for asin, (title, price, *_) in PRODUCTS.items():
                lines += [f"[button] {asin} [button_]", title, price]
        elif state["page"] == "item":
            title, price, groups, _ = PRODUCTS[state["asin"]]
            lines += ["[button] Back to Search [button_]", "[button] < Prev [button_]"]
            for name, values in groups.items():
                lines.append(name)
                marked = state["chosen"].get(name)
                lines += [
                    f"[clicked button] {value} [clicked button_]" if value == marked else f"[button] {value} [button_]"
                    for value in values
                ]
            lines += [title, f"Price: {price}", "[button] Description [button_]", "[button] Buy Now [button_]"]
        elif state["page"] == "description":
            lines += ["[button] < Prev [button_]", PRODUCTS[state["asin"]][3]]
        elif state["page"] == "done":
            lines += ["Thank you", f"Your score: {state['reward']}"]
        return "\n".join(lines)


class Hasty:
    """Searches, opens the last product listed and buys it; half sure of it."""

    name = "hasty"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def choose(self, situations: Sequence[Situation]) -> list[Decision]:
        self.batches.append(len(situations))
        return [self._decide(situation) for situation in situations]

    def _decide(self, situation: Situation) -> Decision:
        actions = situation.actions
        wanted = "click[buy now]" if "click[buy now]" in actions else actions[-1]
        if actions[0].startswith("search"):
            wanted = actions[0]
        if actions[-1] == "click[< prev]":
            wanted = "click[< prev]"
        probabilities = [0.5 / len(actions)] * len(actions)
        probabilities[actions.index(wanted)] += 0.5
        return Decision(wanted, tuple(probabilities), 0, 0)


@pytest.fixture
def shop() -> ToyShop:
    return ToyShop()


@pytest.fixture
def shop_type() -> type[ToyShop]:
    return ToyShop


@pytest.fixture
def hasty() -> Hasty:
    return Hasty()
