"""Train a retriever that is conditioned on an agent's state."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
