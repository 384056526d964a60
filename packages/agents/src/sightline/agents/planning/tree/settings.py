"""How to search: one frozen record that both executors read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sightline.agents.planning.worlds.model import Model

Method = Literal["puct", "gumbel"]
MAX_SIMULATIONS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search does with its simulations."""

    simulations: int
    """Leaves visited per root; fewer where a root's value becomes certain."""
    method: Method = "puct"
    """"puct" (Silver et al. 2018) or "gumbel", sequential halving at the root and improved policies below (Danihelka et
    al. 2022). Gumbel makes better training targets from few simulations and a network's values; PUCT copes with noisy
    values, such as those of random games, and with many simulations."""
    seed: int = 0
    """Seed of all that is random in a search, unless `run` is given one seed for each root."""
    explore: bool = False
    """Add noise at the root, for games to learn from: Dirichlet (PUCT) or Gumbel."""
    ties: Literal["first", "random"] = "first"
    """Among actions of equal score take the "first", or a "random" one, drawn once for each root."""
    c_init: float = 1.25
    """Weight of the prior."""
    c_base: float = 19652.0
    """Visits at which that weight begins to grow."""
    fpu: Literal["parent"] | float = "parent"
    """Value of an action not yet visited: its node's, "parent", or a number in the world's own unit."""
    rescale: Literal["bounds", "tree", "node"] | None = None
    """Values are compared in units of the world's "bounds", of what the "tree" has seen, or of a "node"'s own actions.
    By default PUCT takes the bounds where the world states them, else the tree; Gumbel the node."""
    considered: int = 16
    """Most actions that Gumbel tries at the root."""
    noise_share: float = 0.25
    """Weight of the Dirichlet noise in the root's prior."""
    exhausted: bool | None = None
    """Leave what is searched to its end out of later simulations and keep its exact value. On by default where the
    world is deterministic, and refused where it is not."""
    leaves_per_step: int = 1
    """Leaves found before they are judged together; one root and PUCT only."""
    share_nodes: bool = False
    """Let states with equal keys share one node; one root, one player and no cycles only."""
    max_memory: int = 2 << 30
    """Most bytes that the tree may take; a larger one is refused before it is made."""

    def __post_init__(self) -> None:
        if not 1 <= self.simulations <= MAX_SIMULATIONS:
            raise ValueError(f"simulations must lie between 1 and {MAX_SIMULATIONS:,}, not {self.simulations!r}")
        if self.method not in ("puct", "gumbel"):
            raise ValueError(f'method must be "puct" or "gumbel", not {self.method!r}')
        if self.ties not in ("first", "random"):
            raise ValueError(f'ties must be "first" or "random", not {self.ties!r}')
        if not self.c_init > 0 or not self.c_base > 0:
            raise ValueError(f"c_init and c_base must be above 0, not {self.c_init!r} and {self.c_base!r}")
        allowed = ("bounds", "tree") if self.method == "puct" else ("bounds", "node")
        if self.rescale is not None and self.rescale not in allowed:
            raise ValueError(f'rescale must be one of {allowed} for "{self.method}", not {self.rescale!r}')
        if self.considered < 1 or self.leaves_per_step < 1:
            raise ValueError("considered and leaves_per_step must be at least 1")
        if self.method == "gumbel" and self.leaves_per_step > 1:
            raise ValueError('leaves_per_step above 1 needs method="puct": Gumbel plans each of its visits')
        if not 0 <= self.noise_share <= 1:
            raise ValueError(f"noise_share must lie between 0 and 1, not {self.noise_share!r}")

    def check_world(self, world: Model) -> None:
        """Raise ValueError where these settings do not suit a world."""
        if self.exhausted and not world.deterministic:
            raise ValueError("exhausted=True needs a deterministic world: one visit to an end is not its value here")
        if self.rescale == "bounds" and world.bounds is None:
            raise ValueError('rescale="bounds" needs a world with known bounds; use "tree" (puct) or "node" (gumbel)')
        if self.share_nodes and world.players != 1:
            raise ValueError("share_nodes is for worlds of one player: with two, equal states pass on unequal values")

    def closes(self, world: Model) -> bool:
        """Whether what is searched to its end leaves the search."""
        return world.deterministic if self.exhausted is None else self.exhausted

    def scale(self, world: Model) -> tuple[float, float] | None:
        """Return bounds in whose units values are compared; None for those seen (PUCT: in the tree; Gumbel: node)."""
        default = self.rescale is None and self.method == "puct"
        return world.bounds if self.rescale == "bounds" or default else None
