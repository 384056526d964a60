"""What can be reached at all in the shop, and what who only reads reaches: the bounds of every table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.shopping.stages import Stage
from experiments.shopping.world import FULL_REWARD, World
from lab.run import RunDirectory, write_text
from sightline.agents.evaluation import Interval, show_interval, wilson_interval
from sightline.agents.grammar import ShopAction, propose_queries, webshop_grammar
from sightline.webshop_env import Shop, ShopState, expert_action
from sightline.webshop_env.episodes import goal_difficulty, proposed_searches, reachable_reward, reader_action


@dataclass(frozen=True)
class Teachers:
    """What two teachers reach on held-out goals."""

    reachable: Sequence[bool]
    """Whether the full reward can be reached from the search page, by goal."""
    expert: Sequence[bool]
    """Whether the expert, who knows the goal, earns it."""
    reader: Sequence[bool]
    """Whether the shopper earns it that knows only the instruction and what it has read."""
    several: Sequence[bool]
    """Whether the first page of results lists several products that earn all that can be earned."""

    def sentences(self) -> list[str]:
        """Return what the report says of them."""
        found = [won for won, can in zip(self.expert, self.reachable, strict=True) if can]
        return [
            f"The full reward can be reached for {_share(self.reachable)} of the goals. The expert, who knows the "
            f"goal, earns it for {_share(found)} of those.",
            f"For {_share(self.several)} of the goals the first page of results lists several products that earn it: "
            "any of them is right, for labels as for judgement.",
            f"Reading alone (a shopper that opens Features and Description while an asked word stands nowhere yet) "
            f"earns it for {_share(self.reader)} of the goals.",
        ]


def watch_teachers_stage(run: RunDirectory, world: World, goals: Sequence[int]) -> Teachers:
    """Let both teachers shop for the goals."""

    def compute(folder: Path) -> None:
        rows = zip(*(_watch(world.shop, goal) for goal in goals), strict=True)
        write_text(folder / "teachers.json", json.dumps(dict(zip(Teachers.__annotations__, rows, strict=True))))

    stored = json.loads((run.stage(Stage.TEACHERS, compute) / "teachers.json").read_text(encoding="utf-8"))
    return Teachers(**stored)


def _watch(shop: Shop, goal: int) -> tuple[bool, bool, bool, bool]:
    start = shop.start(goal)
    task = shop.goal(start).instruction_text
    searches = propose_queries(task)
    best = reachable_reward(shop, start, searches).reward
    state = start
    while not state.done and state.steps < (shop.step_limit or 100):
        state, _ = shop.act(state, expert_action(shop, state, searches=searches))
    reader, seen = start, [shop.page(start)]
    while not reader.done and reader.steps < (shop.step_limit or 100):
        reader, _ = shop.act(reader, reader_action(task, seen))
        seen.append(shop.page(reader))
    return best >= FULL_REWARD, _earned(state), _earned(reader), _best_products(shop, goal) > 1


def _best_products(shop: Shop, goal: int) -> int:
    """Return how many products of the first page of results lead to the best reward without going back."""
    start = shop.start(goal)
    results, _ = shop.act(start, f"search[{proposed_searches(shop.goal(start).instruction_text)[0]}]")
    kinds = [webshop_grammar.action_type(f"click[{label}]") for label in shop.page(results).targets]
    return round((1 - goal_difficulty(shop, goal)) * kinds.count(ShopAction.CLICK_PRODUCT))


def _earned(state: ShopState) -> bool:
    return state.done and state.reward >= FULL_REWARD


def _share(flags: Sequence[bool]) -> str:
    share: Interval = wilson_interval(int(np.sum(flags)), len(flags))
    return f"{show_interval(share, '.1f', scale=100)} %" if len(flags) else "none"
