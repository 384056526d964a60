"""A WebShop-compatible shop in pure Python: catalogue, search, pages, reward, and exact save and restore.

:class:`WebShopEnv` is the Gymnasium environment; :class:`Shop` is the same as pure functions of a :class:`ShopState`;
:class:`Catalogue` reads the official files or makes products up. Names are imported when first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue import Catalogue
    from sightline.webshop_env.env import ObservationMode, PageText, WebShopEnv
    from sightline.webshop_env.errors import CatalogueError, GoalError, SnapshotError, WebShopError
    from sightline.webshop_env.goals import (
        GoalKind,
        GoalSet,
        build_goals,
        draw_goal,
        draw_prices,
        filter_goals,
        limit_goals,
        split_indices,
    )
    from sightline.webshop_env.nouns import NounTagger, rule_nouns, spacy_nouns
    from sightline.webshop_env.official import iter_products
    from sightline.webshop_env.pages import AvailableActions, Element, Page, Role
    from sightline.webshop_env.policies import content_words, expert_action, rule_action
    from sightline.webshop_env.product import Goal, GoalOptions, HumanInstruction, Product, SyntheticInstruction
    from sightline.webshop_env.recording import (
        RecordedAttention,
        RecordedStep,
        Recording,
        RecordingError,
        read_recordings,
        record,
        state_at,
        write_recordings,
    )
    from sightline.webshop_env.render import render_html, render_rich, render_text, url
    from sightline.webshop_env.replay import Difference, Replay
    from sightline.webshop_env.reward import Reward, score_purchase
    from sightline.webshop_env.search import SearchIndex
    from sightline.webshop_env.shop import Shop, parse_action
    from sightline.webshop_env.state import Outcome, PageKind, ShopState
    from sightline.webshop_env.store import verify_catalogue, write_catalogue
    from sightline.webshop_env.tree import Node, TimeTree
    from sightline.webshop_env.vector import WebShopVectorEnv
    from sightline.webshop_env.workers import WorkerError

__all__ = [
    "AvailableActions",
    "Catalogue",
    "CatalogueError",
    "Difference",
    "Element",
    "Goal",
    "GoalError",
    "GoalKind",
    "GoalOptions",
    "GoalSet",
    "HumanInstruction",
    "Node",
    "NounTagger",
    "ObservationMode",
    "Outcome",
    "Page",
    "PageKind",
    "PageText",
    "Product",
    "RecordedAttention",
    "RecordedStep",
    "Recording",
    "RecordingError",
    "Replay",
    "Reward",
    "Role",
    "SearchIndex",
    "Shop",
    "ShopState",
    "SnapshotError",
    "SyntheticInstruction",
    "TimeTree",
    "WebShopEnv",
    "WebShopError",
    "WebShopVectorEnv",
    "WorkerError",
    "build_goals",
    "content_words",
    "draw_goal",
    "draw_prices",
    "expert_action",
    "filter_goals",
    "iter_products",
    "limit_goals",
    "parse_action",
    "read_recordings",
    "record",
    "render_html",
    "render_rich",
    "render_text",
    "rule_action",
    "rule_nouns",
    "score_purchase",
    "spacy_nouns",
    "split_indices",
    "state_at",
    "url",
    "verify_catalogue",
    "write_catalogue",
    "write_recordings",
]

_HOME = {
    "catalogue": ("Catalogue",),
    "env": ("ObservationMode", "PageText", "WebShopEnv"),
    "errors": ("CatalogueError", "GoalError", "SnapshotError", "WebShopError"),
    "goals": (
        *("GoalKind", "GoalSet", "build_goals", "draw_goal", "draw_prices", "filter_goals", "limit_goals"),
        "split_indices",
    ),
    "nouns": ("NounTagger", "rule_nouns", "spacy_nouns"),
    "pages": ("AvailableActions", "Element", "Page", "Role"),
    "policies": ("content_words", "expert_action", "rule_action"),
    "product": ("Goal", "GoalOptions", "HumanInstruction", "Product", "SyntheticInstruction"),
    "render": ("render_html", "render_rich", "render_text", "url"),
    "reward": ("Reward", "score_purchase"),
    "search": ("SearchIndex",),
    "shop": ("Shop", "parse_action"),
    "state": ("Outcome", "PageKind", "ShopState"),
    "official": ("iter_products",),
    "recording": (
        "RecordedAttention",
        "RecordedStep",
        "Recording",
        "RecordingError",
        "read_recordings",
        "record",
        "state_at",
        "write_recordings",
    ),
    "replay": ("Difference", "Replay"),
    "store": ("verify_catalogue", "write_catalogue"),
    "tree": ("Node", "TimeTree"),
    "vector": ("WebShopVectorEnv",),
    "workers": ("WorkerError",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "gymnasium" in sys.modules:
    # Whoever has paid for Gymnasium gets the environment's id with the package; everyone else with WebShopEnv.
    importlib.import_module(f"{__name__}.env")
