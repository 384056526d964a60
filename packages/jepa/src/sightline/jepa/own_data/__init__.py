"""Data of one's own: pairs in JSON Lines, or a folder of documents whose subfolders are categories."""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
