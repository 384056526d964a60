"""The shop as tools for TRL: what `GRPOTrainer(environment_factory=...)` takes, without importing TRL.

TRL offers every public method of an environment but `reset` and `get_reward` to the model as a tool, with its
signature and docstring, and hands exceptions to the model as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sightline.webshop_env.episodes.episode import Episode
from sightline.webshop_env.rules.render import render_rich

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop

PROMPT: Final = (
    "You are shopping. Find a product that meets every wish of the instruction below, choose the options it asks for, "
    'and buy it with a click on "Buy Now". Search with a few words; click on anything shown in [button] brackets.'
)

_MOST_LABELS: Final = 60
_LONGEST_LABEL: Final = 80


class ShopTools:
    """One episode at a time, played through two tools.

    Args:
        shop: the shop; its `step_limit`, where it has one, ends an episode without a purchase.
    """

    def __init__(self, shop: Shop) -> None:
        self._episode = Episode(shop)

    def reset(self, **row: Any) -> str:
        """Open the episode that a row of the data set asks for, so that all rollouts of a group start alike.

        Args:
            row: the row's columns; `goal` is the goal's number, the others are left alone.

        Returns:
            The first page, with the instruction, to stand behind the last user message.

        Raises:
            ValueError: the row has no `goal`.
            GoalError: there is no such goal.
        """
        if row.get("goal") is None:
            raise ValueError(f"a row needs a column 'goal', the number of its goal; this one has {sorted(row)}")
        return f"\n\n{render_rich(self._episode.begin(row['goal']))}"

    def get_reward(self) -> float:
        """Return what the purchase earned, from 0 to 1; 0 without one."""
        return self._episode.state.reward

    def search(self, words: str) -> str:
        """Search the shop for products.

        Args:
            words: What to search for, in a few words.

        Returns:
            The page of search results.
        """
        # Brackets delimit actions, and no index holds them.
        query = " ".join(_text(words, "words").replace("[", " ").replace("]", " ").split())
        if not query:
            raise ValueError("there is nothing to search for: give a few words")
        return self._act(f"search[{query}]", f"the search has too many characters: {len(query):,}")

    def click(self, label: str) -> str:
        """Click on a button, a product or an option of the page.

        Args:
            label: What to click on, as the page shows it between [button] and [button_].

        Returns:
            The page that the click leads to.
        """
        label = _text(label, "label").strip()
        labels = [each[:_LONGEST_LABEL] for each in self._episode.page.targets][:_MOST_LABELS]
        there = ", ".join(labels) or "nothing"
        return self._act(f"click[{label}]", f"{label[:_LONGEST_LABEL]!r} cannot be clicked here; what can: {there}")

    def _act(self, action: str, refusal: str) -> str:
        # An episode that is over refuses: a second purchase would replace the reward of the first.
        if not self._episode.act(action).outcome.valid:
            raise ValueError(refusal)
        return render_rich(self._episode.page)


def _text(value: object, name: str) -> str:
    # Models pass numbers and lists where their tools ask for text.
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {str(value)[:_LONGEST_LABEL]!r}")
    return value


def environment_factory(shop: Shop) -> Callable[[], ShopTools]:
    """Return what `GRPOTrainer` takes as `environment_factory`: makes one environment per rollout, all over one shop.

    Args:
        shop: the shop; give it a `step_limit` to bound the number of tool calls.
    """
    return partial(ShopTools, shop)


def training_rows(shop: Shop, goals: Iterable[int]) -> list[dict[str, Any]]:
    """Return rows for `datasets.Dataset.from_list`: a conversational `prompt` with the instruction, and the `goal`.

    The first page, which `reset` returns, says the instruction again: a trainer that drops what `reset` returns still
    trains with the task.

    Args:
        shop: shop in which the goals are looked up.
        goals: their numbers.

    Raises:
        GoalError: there is no such goal.
    """
    rows = []
    for goal in goals:
        instruction = shop.goal(shop.start(goal)).instruction_text
        content = f"{PROMPT}\n\nInstruction: {instruction}"
        rows.append({"prompt": [{"role": "user", "content": content}], "goal": goal})
    return rows
