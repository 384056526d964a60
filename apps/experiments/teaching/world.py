"""The shop as pure dynamics, and which of its goals are for what. Knows nothing of students."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from experiments.teaching.settings import Stage, StudentSettings, TeachingSettings
from lab.run import RunDirectory
from sightline.agents.grammar import webshop_grammar
from sightline.teachability import StateView, Task, Transition
from sightline.teachability.mining import SplitManifest, check_disjoint, make_splits, read_manifest, write_manifest
from sightline.teachability.records import Split
from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, render_rich, split_indices
from sightline.webshop_env.episodes import Generated, write_shop
from sightline.webshop_env.episodes import snapshot as snapshots

SALT = "teachable moments"
_MANIFEST = "splits.json"


class ShopDynamics:
    """`Dynamics` of a shop.

    Args:
        shop: rules over one catalogue, with a limit of steps.
    """

    def __init__(self, shop: Shop) -> None:
        if shop.step_limit is None:
            raise ValueError("the shop needs a step limit")
        self.shop = shop
        self._view = lru_cache(4096)(self._make_view)

    def start(self, goal: int) -> ShopState:
        """Return the first state of a goal's episodes."""
        return self.shop.start(goal)

    def actions(self, state: ShopState) -> tuple[str, ...]:
        """Return the candidate actions of the page."""
        return self.view(state).actions

    def step(self, state: ShopState, action: str) -> Transition[ShopState]:
        """Take an action."""
        after, outcome = self.shop.act(state, action)
        return Transition(after, outcome.reward, outcome.done)

    def view(self, state: ShopState) -> StateView:
        """Return the page alone, without what was done before: the student reads no history."""
        return self._view(self.timeless(state))

    def timeless(self, state: ShopState) -> ShopState:
        """Return the state without its step count."""
        return state if state.steps == 0 else state._replace(steps=0)

    def steps_left(self, state: ShopState) -> int:
        """Return how many actions can still be taken."""
        return (state.step_limit or 0) - state.steps

    def encode(self, state: ShopState) -> bytes:
        """Return the shop's own snapshot."""
        return snapshots.encode(self.shop, state)

    def decode(self, snapshot: bytes) -> ShopState:
        """Return the state of a snapshot."""
        return snapshots.decode(self.shop, snapshot)[0]

    def searches(self, state: ShopState) -> tuple[str, ...]:
        """Return the words that the student may search for."""
        bar = {"has_search_bar": True, "clickables": []}
        actions = webshop_grammar.candidate_actions(self.shop.goal(state).instruction_text, bar)
        return tuple(action.removeprefix("search[").removesuffix("]") for action in actions)

    def _make_view(self, state: ShopState) -> StateView:
        page = self.shop.page(state)
        instruction = self.shop.goal(state).instruction_text
        actions = webshop_grammar.candidate_actions(instruction, page.available_actions)
        return StateView(
            instruction, webshop_grammar.page_text(render_rich(page), instruction), actions, kind=state.kind
        )


@dataclass(frozen=True)
class World:
    """A shop and the goals of the experiment."""

    dynamics: ShopDynamics
    """The shop."""
    manifest: SplitManifest
    """Goals of the pool, by product and split."""

    def tasks(self, split: Split) -> list[Task[ShopState]]:
        """Return the tasks of a split of the pool, ascending."""
        return goal_tasks(self.dynamics, self.manifest.members(split))


def open_shop(settings: StudentSettings) -> ShopDynamics:
    """Return the shop; whoever asks again gets the same one."""
    return _open_shop(settings.generated_products, settings.shop_seed, settings.step_limit)


@lru_cache(maxsize=2)
def _open_shop(products: int, seed: int, step_limit: int) -> ShopDynamics:
    catalogue = Catalogue.generate(products, seed)
    return ShopDynamics(Shop(catalogue, build_goals(catalogue, "human", seed), step_limit=step_limit))


def product_of(dynamics: ShopDynamics, goal: int) -> str:
    """Return the group of a goal: the product that it was made from."""
    return dynamics.shop.goals.goals[goal].asin


def goal_tasks(dynamics: ShopDynamics, goals: Sequence[int]) -> list[Task[ShopState]]:
    """Return goals as tasks that begin at the first page."""
    return [Task(goal, product_of(dynamics, goal), dynamics.start(goal)) for goal in goals]


def split_goals(dynamics: ShopDynamics, split: str) -> range:
    """Return the goals of the literature's split; with too few goals for it, 30 % test, 20 % dev and 50 % train."""
    count = len(dynamics.shop.goals.goals)
    if count >= 2000:
        return split_indices(split, count)
    test, dev = round(0.3 * count), round(0.5 * count)
    return {"test": range(test), "dev": range(test, dev), "train": range(dev, count)}[split]


def test_tasks(dynamics: ShopDynamics, count: int) -> list[Task[ShopState]]:
    """Return the first goals of the test split as tasks."""
    return goal_tasks(dynamics, split_goals(dynamics, "test")[:count])


def open_world_stage(settings: TeachingSettings, run: RunDirectory) -> World:
    """Return the shop, with the pool of goals split by product; the manifest is kept in the run.

    The pool are goals of the development split, which no student was trained on, about other products than the test
    goals.
    """
    dynamics = open_shop(settings)
    # So that `sightline-webshop serve --run` can open the shop that the run's snapshots belong to.
    source = Generated(products=settings.generated_products, seed=settings.shop_seed)
    write_shop(run.path / "shop.json", dynamics.shop, source)

    def compute(folder: Path) -> None:
        kept = {product_of(dynamics, goal) for goal in split_goals(dynamics, "test")[: settings.test_goals]}
        pool = {
            goal: product
            for goal in split_goals(dynamics, "dev")
            if (product := product_of(dynamics, goal)) not in kept
        }
        chosen = dict(list(pool.items())[: settings.pool_goals])
        write_manifest(folder / _MANIFEST, make_splits(chosen, salt=SALT, used=kept))

    manifest = read_manifest(run.stage(Stage.WORLD, compute) / _MANIFEST)
    trained_on = {str(goal) for goal in split_goals(dynamics, "train")}
    check_disjoint({"pool": map(str, manifest.tasks), "goals that students were trained on": trained_on})
    return World(dynamics, manifest)
