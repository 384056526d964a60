"""The shop of an experiment: catalogue, goals, splits, environments and expert demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from experiments.shopping.settings import Pages, Phase1Settings, Phase2Settings
from experiments.shopping.stages import Stage
from lab.engine import AnyEngine, map_splits
from lab.run import RunDirectory
from sightline.agents import Trajectory, read_trajectories, write_trajectories
from sightline.agents.grammar import propose_queries, webshop_grammar
from sightline.agents.rollout import collect
from sightline.webshop_env import (
    Catalogue,
    Shop,
    WebShopEnv,
    build_goals,
    expert_action,
    reachable_rewards,
    rule_action,
    split_indices,
)
from sightline.webshop_env.episodes import Generated, Official, Reachable, write_shop

LIVE_EPISODES = 64
"""Environments that play side by side; they share one shop, so each costs no more than its state."""

GOALS_AT_ONCE = 50
"""Goals whose demonstrations a worker collects before it is given others."""


@dataclass(frozen=True)
class World:
    """A shop, and which of its goals are for what."""

    shop: Shop
    """Rules over one catalogue."""
    splits: Mapping[str, Sequence[int]]
    """Goal numbers for "train", "dev" (choosing epochs, ablations) and "test" (final figures)."""
    source: Generated | Official
    """Where the products come from."""

    def environments(self, count: int = LIVE_EPISODES) -> list[WebShopEnv]:
        """Return environments over the one shop, in the page format that the prompts expect."""
        return [WebShopEnv(shop=self.shop, observation_mode="text_rich") for _ in range(count)]


FULL_REWARD = 1 - 1e-9
"""Rewards are sums of fractions: what is as large as this is 1."""
STEP_COST = 0.001
"""What a step costs: so little that no reward, whose parts are twentieths at least, is given up to save some."""


def expert(environment: WebShopEnv) -> str:
    """Return what someone who knows the goal would do next: any best action, equal ones by chance."""
    shop, state = environment.shop, environment.state
    return expert_action(shop, state, searches=propose_queries(shop.goal(state).instruction_text))


def action_values(environment: WebShopEnv, actions: Sequence[str]) -> list[float]:
    """Return the best reward still within reach after each action, less a small cost of the steps to it.

    Args:
        environment: shop in the state in which the actions are offered.
        actions: candidates; the searches are those that an agent may make.
    """
    shop, state = environment.shop, environment.state
    found = reachable_rewards(shop, state, propose_queries(shop.goal(state).instruction_text))
    lost = Reachable(0.0, None)
    values = (found.get(action, lost) for action in actions)
    return [value.reward - STEP_COST * (value.steps or shop.step_limit or 0) for value in values]


def open_world(settings: Phase1Settings) -> World:
    """Return the shop of a loaded or generated catalogue with its goals, and how these are divided."""
    source: Generated | Official
    if settings.products is not None:
        source = Official(products=settings.products, attributes=settings.attributes, human=settings.human)
        catalogue = Catalogue.from_official(source.products, source.attributes, source.human)
    else:
        long = settings.pages == "long"
        source = Generated(products=settings.generated_products, seed=settings.shop_seed, long_texts=long)
        catalogue = Catalogue.generate(source.products, source.seed, long_texts=long)
    goals = build_goals(catalogue, settings.goals, seed=settings.shop_seed)
    shop = Shop(catalogue, goals, step_limit=settings.step_limit, long_pages=settings.pages == "long")
    splits: dict[str, Sequence[int]] = dict(_splits(len(goals.goals)))
    if settings.pages == "control":
        splits["test"] = [goal for goal in splits["test"] if needs_no_choice(shop, goal)]
    wanted = {"train": settings.training_goals, "dev": settings.validation_goals, "test": settings.test_goals}
    return World(shop, {name: splits[name][: wanted[name]] for name in splits}, source)


def open_fresh_world(settings: Phase2Settings, pages: Pages) -> World:
    """Return a generated shop that nothing was tuned on, with goals for "test" alone."""
    fresh = settings.model_copy(
        update={"shop_seed": settings.fresh_shop_seed, "pages": "long" if pages == "long" else "short"}
    )
    world = open_world(fresh)
    goals = range(len(world.shop.goals))
    fitting = (goal for goal in goals if pages != "control" or needs_no_choice(world.shop, goal))
    return replace(world, splits={"test": list(islice(fitting, settings.fresh_goals))})


def needs_no_choice(shop: Shop, goal: int) -> bool:
    """Tell whether a goal asks for no options, and words alone lead to a best product in a single search and click."""
    start = shop.start(goal)
    task = shop.goal(start).instruction_text
    if shop.goal(start).goal_options:
        return False
    results, _ = shop.act(start, f"search[{propose_queries(task)[0]}]")
    opened, _ = shop.act(results, rule_action(task, shop.page(results)))
    bought, _ = shop.act(opened, "click[buy now]")
    return bought.done and bought.reward >= FULL_REWARD


def _splits(count: int) -> dict[str, range]:
    """Return 500 test goals, the last 500 as dev, the rest from 1,500 on as train; with fewer than 2,500, shares.

    The literature's development goals, 500 to 1,499, stay untouched for those that look for teachable failures there.
    Of fewer goals 30 % are test, 20 % dev and 50 % train.
    """
    if count >= 2500:
        train = split_indices("train", count)
        return {"test": split_indices("test", count), "dev": train[-500:], "train": train[:-500]}
    test, dev = round(0.3 * count), round(0.5 * count)
    return {"test": range(test), "dev": range(test, dev), "train": range(dev, count)}


def collect_demonstrations_stage(
    settings: Phase1Settings, run: RunDirectory, world: World, engine: AnyEngine
) -> dict[str, list[Trajectory]]:
    """Return expert episodes of every split, played by an engine; only those for training have random clicks."""
    # So that `sightline-webshop serve --run` can open the shop in which everything was recorded.
    write_shop(run.path / "shop.json", world.shop, world.source)

    def compute(folder: Path) -> None:
        demonstrate = partial(_demonstrate, world, settings)
        for split, episodes in map_splits(engine, demonstrate, world.splits, GOALS_AT_ONCE):
            write_trajectories(folder / f"{split}.jsonl", episodes)

    folder = run.stage(Stage.DEMONSTRATIONS, compute)
    return {split: list(read_trajectories(folder / f"{split}.jsonl")) for split in world.splits}


def _demonstrate(world: World, settings: Phase1Settings, part: tuple[str, Sequence[int]]) -> list[Trajectory]:
    """Return expert episodes for some goals of a split; each depends on its goal and the seed alone."""
    split, goals = part
    (environment,) = world.environments(1)
    return collect(
        environment,
        goals,
        expert,
        webshop_grammar,
        seed=settings.seed,
        max_steps=settings.step_limit,
        values=action_values,
        exploration=settings.exploration if split == "train" else 0.0,
        progress=False,
    )
