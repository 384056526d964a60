"""What happened in the shop: snapshots, trees of states, recordings, replays and scripted shoppers."""

from sightline.webshop_env.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
