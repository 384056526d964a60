"""Chunking, text encoders, an embedding store and a retriever conditioned on an agent's state.

Start with `chunk_text`, an encoder and `LocalEmbeddingStore`; go on to `RagRetriever` for other backends, and to
`StateConditionedRetriever` and `train_retriever`. Names are imported on first use, so that nothing here loads PyTorch
before it is needed.
"""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
