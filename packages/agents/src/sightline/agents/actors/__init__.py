"""Choose among a page's candidate actions: a local language model, and a scorer of shared words."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
