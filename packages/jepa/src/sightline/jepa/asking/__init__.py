"""Ask a trained model in words: an `Answerer` ranks sources, says how sure it is, and what to do about it."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
