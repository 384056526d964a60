"""A local store as the vector store of LangChain and of LlamaIndex."""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
