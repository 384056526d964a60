from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from sightline.retrieval import CachedEncoder, Document, HashingEncoder, LocalEmbeddingStore
from sightline.retrieval.errors import EncoderOutputError, EncoderUnavailableError
from sightline.retrieval.text import ServedEncoder

BEHIND = HashingEncoder(8)


class Service:
    """Answers as the published APIs of OpenAI and of TEI do; `trouble` are answers that come before."""

    def __init__(self, *trouble: httpx.Response | Exception) -> None:
        self.trouble = list(trouble)
        self.bodies: list[dict] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        self.headers = request.headers
        if self.trouble:
            first = self.trouble.pop(0)
            if isinstance(first, Exception):
                raise first
            return first
        body = self.bodies[-1]
        if request.url.path == "/v1/embeddings":
            rows = 3 * BEHIND.encode(body["input"])[:, : body.get("dimensions", 8)]
            data = [{"index": number, "embedding": row.tolist()} for number, row in enumerate(rows)]
            return httpx.Response(200, json={"data": data[::-1]})
        return httpx.Response(200, json=BEHIND.encode(body["inputs"]).tolist())


def served(service: Callable[[httpx.Request], httpx.Response], **options) -> ServedEncoder:
    waits: list[float] = options.pop("waits", [])
    url = "http://server/v1/" if options.get("api", "openai") == "openai" else "http://server"
    return ServedEncoder(url, "tiny", transport=httpx.MockTransport(service), sleep=waits.append, **options)


@pytest.mark.parametrize("api", ["openai", "tei"])
def test_texts_are_encoded_in_batches_in_their_order(api: str):
    service = Service()
    encoder = served(service, api=api, batch_size=2, api_key="key")
    assert (encoder.name, encoder.dimension) == ("tiny", 8)
    texts = ["grey lamp", "mug", "shelf", "vase", "desk"]
    np.testing.assert_allclose(encoder.encode(texts), BEHIND.encode(texts), atol=1e-6)
    assert len(service.bodies) == 4
    assert service.headers["authorization"] == "Bearer key"
    assert encoder.encode([]).shape == (0, 8)


def test_prompts_go_before_queries_and_documents_and_the_store_uses_both():
    service = Service()
    encoder = served(service, dimension=8, query_prompt="query: ", document_prompt="passage: ")
    with LocalEmbeddingStore(encoder) as store:
        store.add([Document(id="a", content="lamp")])
        store.search("mug")
    assert [body["input"] for body in service.bodies] == [["passage: lamp"], ["query: mug"]]
    assert encoder.name != served(Service(), dimension=8).name
    cached = CachedEncoder(encoder)
    cached.encode(["lamp"])
    cached.encode_queries(["lamp"])
    cached.encode_queries(["lamp"])
    assert [body["input"] for body in service.bodies[2:]] == [["passage: lamp"], ["query: lamp"]]


def test_a_server_shortens_vectors_when_asked():
    service = Service()
    encoder = served(service, dimension=4, shorten=True)
    assert encoder.encode(["lamp"]).shape == (1, 4)
    assert service.bodies[0]["dimensions"] == 4
    assert encoder.name == "tiny-4-numbers"


def test_what_may_pass_is_tried_again_after_the_time_that_the_server_asks_for():
    waits: list[float] = []
    service = Service(
        httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(503), httpx.ConnectError("refused")
    )
    encoder = served(service, dimension=8, waits=waits)
    assert encoder.encode(["lamp"]).shape == (1, 8)
    assert waits == [7.0, 1.0, 2.0]
    with pytest.raises(EncoderUnavailableError, match=r"failed 2 times.*status 503"):
        served(Service(*[httpx.Response(503)] * 2), dimension=8, attempts=2).encode(["lamp"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(401, text="no key"), "refused.*401.*no key"),
        (httpx.Response(200, text="<html>"), "no JSON"),
        (httpx.Response(200, json={"error": "x"}), "no embeddings but"),
        (httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0, 2.0]}]}), r"shape \[1, 2\], not \[1, 8\]"),
        (httpx.Response(200, json={"data": [{"index": 0, "embedding": [0.0] * 8}]}), "zero or not finite"),
    ],
)
def test_what_does_not_pass_is_raised_at_once(answer: httpx.Response, message: str):
    service = Service(answer)
    with pytest.raises(EncoderOutputError, match=message):
        served(service, dimension=8).encode(["lamp"])
    assert len(service.bodies) == 1
