"""The shop of the experiment, and which of its goals are for what. Knows nothing of students."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from experiments.teaching.dynamics import ShopDynamics
from experiments.teaching.settings import StudentSettings, TeachingSettings
from experiments.teaching.stages import Stage
from lab.run import RunDirectory
from sightline.teachability import Task
from sightline.teachability.mining import SplitManifest, check_disjoint, make_splits, read_manifest, write_manifest
from sightline.teachability.records import Split
from sightline.webshop_env import Catalogue, Shop, ShopState, build_goals, split_indices

SALT = "teachable moments"
_MANIFEST = "splits.json"


@dataclass(frozen=True)
class World:
    """A shop and the goals of the experiment.

    Attributes:
        dynamics: the shop.
        manifest: goals of the pool, by product and split.
    """

    dynamics: ShopDynamics
    manifest: SplitManifest

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
