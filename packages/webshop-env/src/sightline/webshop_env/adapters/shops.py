"""One shop for all that a trainer makes in a process: adapters that are configured by values share it by them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.goals.goals import build_goals
from sightline.webshop_env.rules.shop import Shop

if TYPE_CHECKING:
    from pathlib import Path

    from sightline.webshop_env.goals.goals import GoalKind


@lru_cache(maxsize=8)
def shared_shop(
    catalogue: str | Path | None = None,
    products: int = 1000,
    goals: GoalKind = "human",
    seed: int = 42,
    step_limit: int | None = None,
) -> Shop:
    """Make the shop of these settings, or return the one that was made of them before.

    Args:
        catalogue: folder of a stored catalogue; None generates one.
        products: number of generated products.
        goals: "human" or "synthetic".
        seed: seed of prices and price limits.
        step_limit: number of steps after which an episode is cut off; None for no limit.

    Raises:
        CatalogueError: the folder holds no catalogue.
        GoalError: there are no goals of this kind.
    """
    made = Catalogue.generate(products) if catalogue is None else Catalogue.open(catalogue)
    return Shop(made, build_goals(made, goals, seed), step_limit=step_limit)
