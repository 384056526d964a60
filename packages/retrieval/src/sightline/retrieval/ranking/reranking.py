"""A second look at what a search found: every text is read together with the query, and the order made anew.

A reranker is any function from a query and texts to scores; this module does not know how the texts were found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.retrieval.store.document import Document

Reranker: TypeAlias = Callable[[str, Sequence[str]], ArrayLike]
"""From a query and n texts to n scores, higher for a better answer to the query."""


@dataclass(frozen=True, slots=True)
class RerankedDocument:
    """A document in its new place."""

    document: Document
    score: float
    """The reranker's, comparable for one query only."""
    rank_before: int
    """Its place among the documents given, from 1."""


def rerank(
    query: str, documents: Iterable[Document], reranker: Reranker, *, top_k: int | None = None
) -> list[RerankedDocument]:
    """Order documents by what a reranker makes of them and the query.

    Args:
        query: text that is not blank.
        documents: documents that a search found, for example `[hit.document for hit in hits]`.
        reranker: scores the contents.
        top_k: most documents to return; None for all.

    Returns:
        Documents, best first; equal scores in the order given.

    Raises:
        ValueError: the query is blank, `top_k` is below 1, or the reranker did not give one finite number per text.
    """
    if not query.strip():
        raise ValueError("the query is blank, so that no text answers it better than another")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1 or None, not {top_k!r}")
    documents = list(documents)
    if not documents:
        return []
    scores = np.asarray(reranker(query, [document.content for document in documents]), dtype=np.float64)
    if scores.shape != (len(documents),) or not np.isfinite(scores).all():
        raise ValueError(
            f"the reranker must give {len(documents)} finite numbers, one per text, not an array of shape "
            f"{list(scores.shape)}{'' if np.isfinite(scores).all() else ' with values that are not finite'}"
        )
    order = np.argsort(-scores, kind="stable")[:top_k].tolist()
    return [RerankedDocument(documents[place], float(scores[place]), place + 1) for place in order]


class CrossEncoderReranker:
    """A `Reranker` that runs a cross-encoder of sentence-transformers over pairs of query and text.

    Args:
        model: folder, or name of a model on the Hugging Face Hub, for example
            "cross-encoder/ms-marco-MiniLM-L6-v2"; it must give one score per pair.
        batch_size: pairs per forward pass.
        device: PyTorch device; None for the best there is.
        max_tokens: number of tokens that longer pairs are cut to; None for the model's own limit.

    Raises:
        ImportError: the extra `sentence-transformers` is not installed.
        FileNotFoundError: `model` is a path that does not exist.
        ValueError: an argument is out of range, or the model gives more than one score per pair.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        batch_size: int = 32,
        device: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if batch_size < 1 or (max_tokens is not None and max_tokens < 1):
            raise ValueError(f"batch_size and max_tokens must be at least 1, not {batch_size!r} and {max_tokens!r}")
        if isinstance(model, Path) and not model.is_dir():
            raise FileNotFoundError(f"{model} is not a folder with a cross-encoder")
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise ImportError(
                f"{error.name} is not installed, and CrossEncoderReranker needs it; "
                "install it with: pip install 'sightline-retrieval[sentence-transformers]'"
            ) from error
        self._model = CrossEncoder(str(model), device=device, max_length=max_tokens)
        labels = self._model.num_labels
        if labels != 1:
            raise ValueError(f"{str(model)!r} gives {labels} scores per pair of texts; a reranker needs a model with 1")
        self._batch_size = batch_size
        # Tokenizers are not safe to share between threads, and PyTorch uses all cores for one batch anyway.
        self._lock = threading.Lock()

    def __call__(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return scores `[n]` of n texts as answers to a query, higher for better ones.

        Raises:
            TypeError: a single text was given.
        """
        if isinstance(texts, str):
            raise TypeError(f"give a sequence of texts, not one string; write [{texts[:40]!r}]")
        if not len(texts):
            return np.zeros(0, dtype=np.float32)
        with self._lock:
            scores = self._model.predict(
                [(query, text) for text in texts], batch_size=self._batch_size, show_progress_bar=False
            )
        return np.asarray(scores, dtype=np.float32)
