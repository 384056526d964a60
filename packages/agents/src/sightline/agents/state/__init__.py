"""Model an agent's state from what happened: a recurrent network that is trained to predict the next action."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
