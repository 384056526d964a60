"""Documents beside the page: what a retriever finds for the task, read before whatever a view shows of the page.

This module knows nothing of pages, actors or where documents are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sightline.agents.reading.types import Reading, View
from sightline.agents.records import Consultation, Situation
from sightline.retrieval.backends import AllBackendsFailedError

if TYPE_CHECKING:
    from sightline.retrieval import RagRetriever


def with_documents(
    view: View,
    retriever: RagRetriever,
    top_k: int,
    *,
    query: Callable[[Situation], str] = lambda situation: situation.instruction,
) -> View:
    """Return a view that shows the documents nearest to the task before what another view shows of the page.

    While the retriever's first backend is down the next one answers; the consultation, which the decision carries, says
    which one did. Where none can, the page is read alone and the consultation says so: an episode is not lost for it.

    Args:
        view: view of the page.
        retriever: backends of documents such as guides or earlier episodes, a local one last.
        top_k: most documents to show.
        query: function from a situation to what is searched for; equal queries of a batch are searched for once.

    Raises:
        ValueError: `top_k` is less than one.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")

    def both(situations: Sequence[Situation]) -> list[Reading]:
        queries = [query(situation) for situation in situations]
        found = _consulted(retriever, [one for one in dict.fromkeys(queries) if one.strip()], top_k)
        nothing = Consultation((), ())
        return [
            _before(found.get(one, nothing), reading) for one, reading in zip(queries, view(situations), strict=True)
        ]

    return both


def _consulted(retriever: RagRetriever, queries: Sequence[str], top_k: int) -> dict[str, Consultation]:
    if not queries:
        return {}
    try:
        answers = retriever.search_batch(queries, top_k=top_k)
    except AllBackendsFailedError as error:
        return dict.fromkeys(queries, Consultation((), (), error=str(error)))
    return {
        query: Consultation(
            tuple(hit.document.id for hit in answer.hits),
            tuple(hit.document.content for hit in answer.hits),
            answer.backend,
            stale=answer.stale,
        )
        for query, answer in zip(queries, answers, strict=True)
    }


def _before(consultation: Consultation, reading: Reading) -> Reading:
    return replace(reading, context=(*consultation.texts, *reading.context), consultation=consultation)
