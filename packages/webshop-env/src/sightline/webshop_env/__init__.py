"""A WebShop-compatible shop in pure Python: catalogue, search, pages, reward, and exact save and restore.

`WebShopEnv` is the Gymnasium environment; `Shop` is the same as pure functions of a `ShopState`;
`Catalogue` reads the official files or makes products up. Names are imported when first used.
"""

import importlib
import sys

from sightline.webshop_env.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)

if "gymnasium" in sys.modules:
    # Whoever has paid for Gymnasium gets the environment's id with the package; everyone else with WebShopEnv.
    importlib.import_module(f"{__name__}.gym.env")
