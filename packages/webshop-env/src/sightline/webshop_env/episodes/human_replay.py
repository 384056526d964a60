"""Play a person's published episode again in a shop that has its products, and say where it comes out differently."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sightline.webshop_env.episodes.human_trajectories import AGENT, HumanTrajectory, Visit
from sightline.webshop_env.episodes.recording import Recording, RecordingError, record
from sightline.webshop_env.episodes.replay import Difference
from sightline.webshop_env.goals.selection import find_goals
from sightline.webshop_env.rules.state import PageKind, ShopState

if TYPE_CHECKING:
    from sightline.webshop_env.episodes.snapshot import Moment
    from sightline.webshop_env.rules.shop import Shop

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True)
class HumanReplay:
    """A person's episode as this shop plays it."""

    recording: Recording
    """The episode with whole pages and snapshots, up to where it can be played."""
    differences: tuple[Difference, ...]
    """Where this shop shows or pays something else; empty where nothing differs."""


def replay_human(shop: Shop, trajectory: HumanTrajectory) -> HumanReplay:
    """Play an episode again.

    Args:
        shop: shop whose catalogue has the episode's products and whose goals have its instruction.
        trajectory: the episode.

    Raises:
        RecordingError: the shop has no goal of this instruction and product.
    """
    wanted = trajectory.goal
    found = [
        index
        for index in find_goals(shop.goals, wanted.instruction_text)
        if shop.goals.goals[index].asin == wanted.asin
    ]
    if not found:
        raise RecordingError(
            f"trajectory {trajectory.name!r}: this shop has no goal {wanted.instruction_text[:80]!r} "
            f"for {wanted.asin!r}; goals follow from the catalogue, their kind and their seed"
        )
    state = shop.start(found[0])
    differences = _goal_differences(shop, state, trajectory)
    moments: list[Moment] = []
    for step, (visit, action) in enumerate(zip(trajectory.visits, trajectory.actions, strict=False)):
        differences += _page_differences(shop, state, visit, step)
        if action is None:
            continue  # the page was loaded again
        after, outcome = shop.act(state, action)
        if not outcome.valid:
            differences.append(Difference(step, "action", action, "the page does not offer it"))
            break
        moments.append((state, action))
        state = after
    else:
        differences += _page_differences(shop, state, trajectory.visits[-1], len(trajectory.actions))
        if trajectory.reward is not None and not math.isclose(state.reward, trajectory.reward, abs_tol=_TOLERANCE):
            differences.append(Difference(len(trajectory.actions), "reward", trajectory.reward, state.reward))
    recording = record(shop, moments, state, episode_id=trajectory.name, agent=AGENT)
    return HumanReplay(recording, tuple(differences))


def _goal_differences(shop: Shop, state: ShopState, trajectory: HumanTrajectory) -> list[Difference]:
    ours, theirs = shop.goal(state), trajectory.goal
    fields = ("category", "query", "name", "product_category", "attributes", "price_upper", "goal_options")
    return [
        Difference(0, f"goal.{field}", getattr(theirs, field), getattr(ours, field))
        for field in fields
        if getattr(theirs, field) != getattr(ours, field)
    ]


def _page_differences(shop: Shop, state: ShopState, visit: Visit, step: int) -> list[Difference]:
    shown = shop.hits(state)[shop.page_size * (state.number - 1) : shop.page_size * state.number]
    on_results = state.kind is PageKind.RESULTS
    fields = [
        ("page", visit.page, _page_name(state)),
        ("asin", visit.asin, state.asin),
        ("options", dict(visit.options), dict(state.options)),
        ("shown", visit.shown, tuple(shown) if on_results else ()),
        ("number", visit.number, state.number if visit.page not in ("index", "done") else visit.number),
    ]
    if visit.price is not None and state.asin is not None:
        fields.append(("price", visit.price, shop.goals.prices[state.asin]))
    return [Difference(step, name, theirs, ours) for name, theirs, ours in fields if theirs != ours]


def _page_name(state: ShopState) -> str:
    names = {
        PageKind.INDEX: "index",
        PageKind.RESULTS: "search_results",
        PageKind.ITEM: "item_page",
        PageKind.DONE: "done",
    }
    return names.get(state.kind, "item_sub_page")
