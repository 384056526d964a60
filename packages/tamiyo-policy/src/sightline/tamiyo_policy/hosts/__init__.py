"""Networks that can be grown while they train: slots, blueprints, lifecycles and stacks."""

from sightline.tamiyo_policy.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
