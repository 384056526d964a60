"""An encoder that asks a server for embeddings, by OpenAI's API or that of Text Embeddings Inference (TEI).

Needs the extra `http`. This module does not know which model answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from sightline.retrieval.errors import EncoderOutputError, EncoderUnavailableError
from sightline.retrieval.text.protocol import Vectors, check_texts

try:
    import httpx
except ImportError as problem:
    raise ImportError(
        "httpx is not installed, and ServedEncoder needs it; install it with: pip install 'sightline-retrieval[http]'"
    ) from problem

logger = logging.getLogger(__name__)

_PASSING = (408, 425, 429)
_MAX_DELAY = 30.0
_SHOWN = 300


class ServedEncoder:
    """Embeddings from a server, in batches, tried again while it is busy or cannot be reached.

    Args:
        url: address before `/embeddings` (OpenAI) or `/embed` (TEI), for example "http://localhost:8080/v1".
        model: name of the model; it is part of this encoder's name, and is sent to servers with OpenAI's API.
        api: which of the two the server speaks.
        dimension: length of a vector; None to ask the server once.
        shorten: True to ask an OpenAI server for `dimension` numbers of longer vectors (Matryoshka).
        query_prompt: text put before queries.
        document_prompt: text put before other texts.
        cut: True to let a TEI server cut texts that are too long for its model; it refuses them otherwise.
        api_key: key sent as a bearer token; None for none.
        batch_size: texts per request.
        attempts: tries per request, the first included.
        timeout: seconds that one try may take.
        transport: transport of httpx, for tests and proxies; None for its own.
        sleep: function that waits a number of seconds.

    Raises:
        EncoderUnavailableError: the dimension had to be asked for, and the server did not answer.
        ImportError: (on import) the extra `http` is not installed.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api: Literal["openai", "tei"] = "openai",
        dimension: int | None = None,
        shorten: bool = False,
        query_prompt: str = "",
        document_prompt: str = "",
        cut: bool = False,
        api_key: str | None = None,
        batch_size: int = 64,
        attempts: int = 4,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if batch_size < 1 or attempts < 1 or (dimension is not None and dimension < 1) or (shorten and not dimension):
            raise ValueError("batch_size, attempts and dimension must be at least 1, and shorten needs a dimension")
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._client = httpx.Client(timeout=timeout, headers=headers, transport=transport)
        self._api, self._model, self._cut = api, model, cut
        self._url = f"{url.rstrip('/')}/{'embeddings' if api == 'openai' else 'embed'}"
        self._shortened = dimension if shorten else None
        self._batch_size, self._attempts, self._sleep = batch_size, attempts, sleep
        self._prompts = query_prompt, document_prompt
        self.dimension = len(self._request([" "])[0]) if dimension is None else dimension
        self.name = model if self._shortened is None else f"{model}-{dimension}-numbers"
        if query_prompt or document_prompt:
            self.name += f"-prompts-{query_prompt!r}-{document_prompt!r}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode n texts as `[n, dimension]` unit rows.

        Raises:
            EncoderOutputError: the server refused, or gave something other than n vectors of this length.
            EncoderUnavailableError: the server could not be reached or was busy, as often as it was tried.
            TypeError: a single string was given.
        """
        return self._encode(texts, self._prompts[1])

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode n queries as `[n, dimension]` unit rows; errors are those of `encode`."""
        return self._encode(texts, self._prompts[0])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        check_texts(texts)
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), self._batch_size):
            part = [prompt + text for text in texts[start : start + self._batch_size]]
            vectors = np.asarray(self._request(part), dtype=np.float64)
            if vectors.shape != (len(part), self.dimension):
                raise EncoderOutputError(
                    f"{self._url} gave vectors of shape {list(vectors.shape)}, not {[len(part), self.dimension]}"
                )
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            if not (np.isfinite(norms).all() and norms.all()):
                raise EncoderOutputError(f"{self._url} gave a vector that is zero or not finite")
            rows[start : start + len(part)] = vectors / norms
        return rows

    def _request(self, texts: Sequence[str]) -> list[list[float]]:
        body: dict[str, Any] = {"inputs": texts, "normalize": True, "truncate": self._cut}
        if self._api == "openai":
            body = {"input": texts, "model": self._model, "encoding_format": "float"}
            if self._shortened is not None:
                body["dimensions"] = self._shortened
        answer = self._answer(body)
        try:
            if self._api == "openai":
                return [entry["embedding"] for entry in sorted(answer["data"], key=lambda entry: entry["index"])]
            return [list(vector) for vector in answer]
        except (KeyError, TypeError) as error:
            raise EncoderOutputError(f"{self._url} gave no embeddings but {str(answer)[:_SHOWN]}") from error

    def _answer(self, body: dict[str, Any]) -> Any:
        for number in range(1, self._attempts + 1):
            delay = min(0.5 * 2.0 ** (number - 1), _MAX_DELAY)
            try:
                response = self._client.post(self._url, json=body)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    try:
                        return response.json()
                    except ValueError as error:
                        raise EncoderOutputError(f"{self._url} gave no JSON: {response.text[:_SHOWN]!r}") from error
                problem = f"status {response.status_code}: {response.text[:_SHOWN]!r}"
                if response.status_code < 500 and response.status_code not in _PASSING:
                    raise EncoderOutputError(f"{self._url} refused the texts with {problem}")
                asked = response.headers.get("retry-after", "")
                delay = min(float(asked), _MAX_DELAY) if asked.isdecimal() else delay
            if number == self._attempts:
                raise EncoderUnavailableError(f"{self._url} failed {number} times, the last time with {problem}")
            logger.info("%s failed with %s; trying again in %.1f s", self._url, problem, delay)
            self._sleep(delay)
        raise AssertionError("there is at least one attempt")
