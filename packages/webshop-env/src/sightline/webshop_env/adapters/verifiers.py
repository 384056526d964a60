"""The shop for verifiers (`verifiers.v1`): goals as a taskset, and an environment that shows pages and takes actions.

verifiers finds a taskset and its environment by the name of a module that lists both, so that a run needs one:

    # my_shop.py, beside the run's settings; then: eval my_shop --env.shopper.harness.id null
    from sightline.webshop_env.adapters.verifiers import ShopEnv, ShopTaskset

    __all__ = ["ShopEnv", "ShopTaskset"]

A task's prompt is the rules and the first page; each reply is an action, each page the next message. The trace gets the
reward of the purchase as `purchase`, and as metrics how many actions there were and how many were invalid.
"""

# pydantic reads the annotations of configurations, so that their types are imported at run time.
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sightline.webshop_env.adapters.shops import shared_shop
from sightline.webshop_env.episodes.episode import Episode
from sightline.webshop_env.goals.goals import GoalKind, split_indices
from sightline.webshop_env.rules.render import render_rich

try:
    # Not in the lock, whose pins verifiers' do not fit.
    import verifiers.v1 as vf  # ty: ignore[import-not-found]
except ImportError as error:
    raise ImportError("the verifiers adapter needs verifiers; install it with: pip install 'verifiers>=0.4'") from error

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop

__all__ = ["ShopConfig", "ShopEnv", "ShopEnvConfig", "ShopTask", "ShopTaskset"]

PROMPT: Final = (
    "You are shopping. Find a product that meets every wish of the instruction, choose the options it asks for, and "
    "buy it. Every answer is one action and nothing else: search[words] searches, click[label] clicks on what a page "
    "shows in [button] brackets; click[buy now] buys.\n\n"
)


class ShopData(vf.TaskData):
    """One task."""

    goal: int
    """Number of its goal in the shop."""


class ShopTask(vf.Task[ShopData]):
    """A goal to shop for; its reward comes from the environment."""


class ShopConfig(vf.TasksetConfig):
    """Which shop, and which of its goals."""

    catalogue: Path | None = None
    """Folder of a stored catalogue; None generates one."""
    products: int = 1000
    """Number of generated products."""
    goals: GoalKind = "human"
    """Whose instructions."""
    seed: int = 42
    """Seed of prices and price limits."""
    split: str = "test"
    """Split of the goals, by either convention."""
    step_limit: int = 15
    """Number of actions after which an episode is cut off."""

    def shop(self) -> Shop:
        """Return the shop, which all tasksets and environments of these settings share."""
        return shared_shop(self.catalogue, self.products, self.goals, self.seed, self.step_limit)


class ShopTaskset(vf.Taskset[ShopTask, ShopConfig]):
    """The goals of a split, in order."""

    def load(self) -> Iterator[ShopTask]:
        """Make one task after the other.

        Raises:
            GoalError: there is no such split.
        """
        shop = self.config.shop()
        for goal in split_indices(self.config.split, len(shop.goals)):
            page = render_rich(shop.page(shop.start(goal)))
            data = ShopData(name=f"goal-{goal}", prompt=f"{PROMPT}{page}", goal=goal)
            yield ShopTask(data, self.config.task)


class ShopEnvConfig(vf.EnvConfig):
    """Who shops."""

    shopper: vf.AgentConfig = vf.AgentConfig()
    """The agent; a harness without tools of its own, such as `null`, is enough."""


class ShopEnv(vf.Env[ShopEnvConfig]):
    """Plays the shop to one agent."""

    async def run(self, task: ShopTask, agents: Any) -> None:
        """Show pages and take actions until something is bought, the step limit is reached or the agent stops."""
        episode = Episode(self.taskset.config.shop(), lenient=True)
        episode.begin(task.data.goal)
        invalid = 0
        async with agents.shopper.interaction(task) as interaction:
            segment = await interaction.turn()
            while not segment.terminated:
                turn = episode.act(segment.last_reply)
                invalid += turn.error is not None
                if turn.ended:
                    break
                page = render_rich(episode.page)
                segment = await interaction.turn(page if turn.error is None else f"{turn.error}\n\n{page}")
        trace = interaction.trace
        trace.record_reward("purchase", episode.state.reward)
        trace.record_metrics({"actions": episode.state.steps, "invalid_actions": invalid})
