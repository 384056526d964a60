"""Let a server with the OpenAI interface act: client, cache of answers, ledger of tokens."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
