"""The shop for ROLL's agentic pipeline, whose environments are those of GEM: made by name, stepped with a model's text.

`register()` makes it known to GEM as `sightline/webshop`; in ROLL's settings an environment of it is

    custom_envs:
      Shop:
        env_type: sightline/webshop
        max_steps: 15
        env_config: {products: 1000, split: train, max_steps: 15}
        agent_template: "{observation} {suffix}"

`reset` gives the rules and the instruction, `info["suffix"]` is the page that comes of every action. A seed decides on
the goal, so that the episodes of a group start alike. The model's action stands between `<answer>` and `</answer>`.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any, Final

from sightline.webshop_env.adapters.shops import shared_shop
from sightline.webshop_env.episodes.episode import Episode
from sightline.webshop_env.goals.goals import draw_goal, split_indices
from sightline.webshop_env.rules.action_text import action_error
from sightline.webshop_env.rules.render import render_rich

try:
    # Not in the lock, whose pins GEM's do not fit.
    import gem  # ty: ignore[import-not-found]
except ImportError as error:
    raise ImportError("ROLL's environments need GEM; install it with: pip install gem-llm") from error

if TYPE_CHECKING:
    from sightline.webshop_env.episodes.episode import Turn
    from sightline.webshop_env.goals.goals import GoalKind

ENV_ID: Final = "sightline/webshop"

INSTRUCTIONS: Final = (
    "You are shopping. Find a product that meets every wish of the instruction, choose the options it asks for, and "
    "buy it. Every answer holds one action: <answer>search[words]</answer> searches, <answer>click[label]</answer> "
    "clicks on what a page shows in [button] brackets.\nInstruction: "
)

_HOW_TO_AVERAGE: Final = {
    "action_is_valid": "mean",
    "action_is_effective": "mean",
    "format_penalty": "mean",
    "success": "last",
    "raw_reward": "last",
}


class RollEnv(gem.Env):
    """One episode after the other, in the words of ROLL's environment managers.

    Args:
        catalogue: folder of a stored catalogue; None generates one.
        products: number of generated products.
        goals: "human" or "synthetic".
        goals_seed: seed of prices and price limits.
        split: split that goals are drawn from, by either convention.
        max_steps: number of actions after which an episode is cut off.
        action_pattern: regular expression whose last group is the action in the model's text.
        format_penalty: what an answer without an action earns.
        seed: seed of the goals of resets that bring none; ROLL sets it to that of the group.

    Raises:
        GoalError: there are no goals of this kind, or no such split.
    """

    def __init__(
        self,
        catalogue: str | None = None,
        products: int = 1000,
        goals: GoalKind = "human",
        goals_seed: int = 42,
        split: str = "train",
        max_steps: int = 15,
        action_pattern: str = r"<answer>(.*?)</answer>",
        format_penalty: float = 0.0,
        seed: int = 0,
    ) -> None:
        shop = shared_shop(catalogue, products, goals, goals_seed, max_steps)
        self._drawable = split_indices(split, len(shop.goals))
        self._episode = Episode(shop)
        self._pattern = re.compile(action_pattern, re.DOTALL)
        self._format_penalty = format_penalty
        self._rng = random.Random(seed)
        self._page = ""

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Open an episode whose goal follows from the seed.

        Returns:
            The rules with the instruction, and an info with the page as `suffix`.
        """
        rng = self._rng if seed is None else random.Random(seed)
        goal = draw_goal(self._episode.shop.goals, rng, self._drawable)
        page = self._episode.begin(goal, rng.getrandbits(32))
        observation = INSTRUCTIONS + self._episode.instruction
        self._page = render_rich(page)
        return observation, {"suffix": self._page, "env_instruction": observation, "goal": goal}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take the action in a model's text; a text without one counts as a step and changes nothing.

        Returns:
            What happened in words, the reward, whether the episode is over, whether the step limit cut it off, and an
            info: `suffix` (the page), `metrics` with `metrics_agg_mode`, `action` (None without one),
            `action_content`, `action_is_valid` and, where it was not, `action_error`. ROLL ends episodes
            that terminate, so that one cut off terminates, too.

        Raises:
            EpisodeError: there is no episode, or it is over.
        """
        found = self._pattern.search(action)
        content = found[found.re.groups].strip() if found else ""
        turn = self._episode.act(content)
        before, self._page = self._page, render_rich(self._episode.page)
        penalty = 0.0 if found else self._format_penalty
        info = {
            "suffix": self._page,
            "metrics": self._metrics(turn, penalty, effective=self._page != before),
            "metrics_agg_mode": dict(_HOW_TO_AVERAGE),
            "action": content if found else None,
            "action_content": content,
            "action_is_valid": turn.outcome.valid,
        }
        if turn.error is not None:
            info["action_error"] = turn.error
        observation = self._words(turn, content, found=found is not None)
        return observation, turn.outcome.reward + penalty, turn.ended, turn.ended and not turn.outcome.done, info

    def _metrics(self, turn: Turn, penalty: float, *, effective: bool) -> dict[str, Any]:
        return {
            "action_is_valid": turn.outcome.valid,
            "action_is_effective": effective,
            "format_penalty": penalty,
            "success": turn.outcome.done and turn.outcome.reward == 1.0,
            "raw_reward": turn.outcome.reward,
        }

    def _words(self, turn: Turn, content: str, *, found: bool) -> str:
        steps = f"Action {self._episode.state.steps}"
        if not found:
            return f"{steps}: no action was found in the answer; it stands between <answer> and </answer>."
        return f"{steps}: {content}" if turn.error is None else f"{steps}: {turn.error}"

    def sample_random_action(self) -> str:
        """Return an answer with something that can be clicked, or a search where there is nothing."""
        page = self._episode.page
        clicks = [click for label in page.targets if action_error(page, click := f"click[{label}]") is None]
        return f"<answer>{self._rng.choice(clicks) if clicks else 'search[gift]'}</answer>"

    def render(self, mode: str | None = None) -> str:
        """Return the page as text, whatever the mode; there is no picture."""
        return render_rich(self._episode.page)


def register() -> None:
    """Make `gem.make("sightline/webshop")` work; calling it again does nothing."""
    from gem.envs.registration import ENV_REGISTRY  # ty: ignore[import-not-found]

    if ENV_ID not in ENV_REGISTRY:
        gem.register(ENV_ID, entry_point=RollEnv)


register()
