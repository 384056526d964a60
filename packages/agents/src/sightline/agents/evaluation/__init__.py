"""Say how well agents did: rates with intervals, paired comparisons, power, cost, failures and recall."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
