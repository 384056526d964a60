"""A first episode in words, so that whoever starts the experiment sees at once what it is about.

Nothing is loaded for it but the shop: it is told while a machine would still be loading PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator

from experiments.shopping.world import World
from lab.terminal import say
from sightline.webshop_env import Shop, ShopState, rule_action
from sightline.webshop_env.episodes import explain
from sightline.webshop_env.rules import PageKind

WHAT_FOLLOWS = (
    "That shopper reads whole pages. Now agents are trained that read only the few pieces of a page which their memory "
    "asks for, and all shop for the same goals, which none has seen. Times below are those of a default run on two "
    "cores. The first table says how small a difference such a run could still find.\n\n"
    "PyTorch and a text encoder are loaded now, which takes some seconds."
)

_LONGEST_TITLE = 70
_STEPS = 15


def introduce(world: World) -> None:
    """Print the episode of the first development goal, and what the experiment does after it."""
    say("\n".join(["", *tell_episode(world.shop, world.splits["dev"][0]), ""]))
    say(WHAT_FOLLOWS)


def tell_episode(shop: Shop, goal: int) -> Iterator[str]:
    """Yield what a rule that reads whole pages does for one goal, a line at a time, and what it earns.

    Args:
        shop: shop in which the episode takes place.
        goal: number of the goal.
    """
    state = shop.start(goal)
    request = shop.goal(state).instruction_text
    yield f'A customer asks: "{request}"'
    while not (state.done or state.truncated) and state.steps < _STEPS:
        before = state
        state, _ = shop.act(before, rule_action(request, shop.page(before)))
        yield f"{state.steps:>3}. {_step(shop, before, state)}"
    yield f"     {_end(shop, state)}"


def _step(shop: Shop, before: ShopState, after: ShopState) -> str:
    if after.done:
        return "The shopper buys it."
    if after.kind is PageKind.RESULTS and before.kind is PageKind.INDEX:
        return f'The shopper searches for "{after.query}" and finds {len(shop.hits(after))} products.'
    if after.kind is PageKind.RESULTS:
        return f"The shopper turns to page {after.number} of the results."
    if after.kind is PageKind.ITEM and after.asin is not None and before.kind is not PageKind.ITEM:
        title = shop.product(after.asin).title
        short = title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1].rstrip()}…"
        return f"The shopper opens {short}, ${shop.goals.prices[after.asin]:,.2f}."
    if chosen := set(after.options) - set(before.options):
        return f"The shopper chooses {', '.join(f'{name} {value}' for name, value in sorted(chosen))}."
    return f"The shopper goes to the page {after.kind.value}."


def _end(shop: Shop, state: ShopState) -> str:
    if state.kind is not PageKind.DONE:
        return "Nothing is bought, so nothing is earned."
    why = explain(shop, state)
    missed = [wish.text for wishes in why.wishes.values() for wish in wishes if not wish.met]
    short = f" What was missed: {', '.join(missed)}." if missed else " Every wish is met."
    return f"It earns {why.reward.total:.2f} of 1.{short}"
