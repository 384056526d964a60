"""Requests to an OpenAI-compatible chat API: bounded, repeated where that helps, cached and accounted for.

This module knows nothing of prompts, actions or what answers mean.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic import BaseModel, Field, JsonValue, ValidationError

from sightline.agents.chat.cache import AnswerCache, ChatAnswer, request_digest
from sightline.agents.chat.config import ChatConfig
from sightline.agents.chat.ledger import LedgerRow, TokenLedger

try:
    import openai
except ImportError as error:
    raise ImportError("chat models need an extra: pip install 'sightline-agents[chat]'") from error

_FIRST_PAUSE = 0.5
_LONGEST_OWN_PAUSE = 60.0
_PASSING_STATUSES = frozenset({408, 409, 429})
_REFUSING_STATUSES = frozenset({400, 413, 422})
_PARAMETER_STATUSES = frozenset({400, 422})
_SHOWN_CHARACTERS = 300


class MalformedAnswerError(ValueError):
    """The server answered with something other than a chat completion."""


class MissingUsageError(RuntimeError):
    """The server does not report how many tokens it used."""


class RequestRefusedError(ValueError):
    """The server will not answer this request, for example because it is longer than the model's context.

    Attributes:
        perhaps_parameters: whether a parameter that the server does not know may be the reason.
    """

    def __init__(self, message: str, *, perhaps_parameters: bool = False) -> None:
        super().__init__(message)
        self.perhaps_parameters = perhaps_parameters


class _Part(BaseModel):
    type: str = ""
    text: str | None = None


class _Message(BaseModel):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    def answer(self) -> str:
        """Return what was said; where that is nothing, the thoughts, marked as such."""
        content = self.content or ""
        if not isinstance(content, str):
            content = "".join(part.text or "" for part in content if part.type == "text")
        thoughts = self.reasoning_content or self.reasoning
        return f"<think>{thoughts}" if thoughts and not content.strip() else content


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _TokenDetails(BaseModel):
    cached_tokens: int | None = Field(default=None, ge=0)


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    prompt_tokens_details: _TokenDetails | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class ChatClient:
    """A connection to one server, for use in one event loop.

    A request that fails for a passing reason (connection, timeout, 408, 409, 429, 5xx, an answer that is no chat
    completion) is repeated after a pause: as long as the server's `Retry-After` says, else twice as long as the one
    before, from half a second to a minute; with jitter, so that clients do not return together. A server that wants
    more than `config.longest_wait` is not asked again: earlier it would refuse once more.

    Args:
        config: where requests are sent, and how patiently.
        api_key: key for the server; default the environment variable `OPENAI_API_KEY`.
        cache: answers are taken from here and kept here; None to always ask.
        ledger: account that gets a row for every request that is sent; None to keep none.

    Attributes:
        cache_hits: requests that the cache answered.
    """

    def __init__(
        self, config: ChatConfig, api_key: str | None, *, cache: AnswerCache | None, ledger: TokenLedger | None
    ) -> None:
        self.cache_hits = 0
        self._config = config
        self._slots = asyncio.Semaphore(config.concurrency)
        self._cache = cache
        self._ledger = ledger
        self._client = openai.AsyncOpenAI(
            base_url=config.base_url, api_key=api_key, timeout=config.timeout, max_retries=0
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def holds(self, body: Mapping[str, JsonValue]) -> bool:
        """Return whether the cache has the answer to a request."""
        return self._cache is not None and self._cache.get(self._request(body)) is not None

    async def answer(self, body: Mapping[str, JsonValue]) -> ChatAnswer:
        """Return the answer to a request, from the cache or the server.

        Args:
            body: request to `/chat/completions`: `model`, `messages` and any parameters, in plain JSON types.

        Raises:
            RequestRefusedError: the server refuses this request because of its content (400, 413, 422).
            MissingUsageError: the server does not report how many tokens it used.
            MalformedAnswerError: even the last attempt brought no chat completion.
            TimeoutError: even the last attempt took too long.
            openai.OpenAIError: the server cannot be reached, or fails for good.
            OSError: the cache or the ledger could not be written.
        """
        request = self._request(body)
        async with self._slots:
            kept = self._cache.get(request) if self._cache else None
            if kept is not None:
                self.cache_hits += 1
                return kept
            answer = await self._accounted(request, body)
            # The account comes first: what was paid is never answered from the cache without a row.
            return self._cache.keep(request, answer) if self._cache else answer

    def _request(self, body: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        return {"base_url": str(self._client.base_url), **body}

    async def _accounted(self, request: Mapping[str, JsonValue], body: Mapping[str, JsonValue]) -> ChatAnswer:
        started = time.monotonic()
        attempts, answer, error = 0, None, None
        try:
            while answer is None:
                attempts += 1
                try:
                    answer = await self._attempt(body)
                except (openai.APIError, TimeoutError, MalformedAnswerError) as failure:
                    pause = retry_pause(attempts, _retry_after_header(failure), self._config.longest_wait)
                    if attempts > self._config.max_retries or pause is None or not _is_passing(failure):
                        raise
                    await asyncio.sleep(pause)
        except BaseException as failure:
            error = f"{type(failure).__name__}: {failure}"[:_SHOWN_CHARACTERS]
            raise
        finally:
            if self._ledger:
                self._ledger.append(
                    LedgerRow(
                        time=datetime.now(UTC),
                        request=request_digest(request),
                        model=str(body["model"]),
                        prompt_tokens=None if answer is None else answer.prompt_tokens,
                        completion_tokens=None if answer is None else answer.completion_tokens,
                        cached_tokens=None if answer is None else answer.cached_tokens,
                        cost=_cost(self._ledger, answer),
                        latency=time.monotonic() - started,
                        attempts=attempts,
                        error=error,
                    )
                )
        return answer

    async def _attempt(self, body: Mapping[str, JsonValue]) -> ChatAnswer:
        try:
            # The library's own limit is on the silence between two bytes.
            async with asyncio.timeout(self._config.timeout):
                return self._parsed(await self._post(body))
        except TimeoutError as error:
            raise TimeoutError(f"{self._client.base_url} gave no answer in {self._config.timeout:g} seconds") from error

    async def _post(self, body: Mapping[str, JsonValue]) -> bytes:
        parameters = {name: value for name, value in body.items() if name not in ("model", "messages")}
        try:
            response = await self._client.chat.completions.with_raw_response.create(
                model=body["model"],  # ty: ignore[invalid-argument-type] - checked by the server
                messages=body["messages"],  # ty: ignore[invalid-argument-type] - checked by the server
                extra_body=parameters,  # the server may know parameters that the library does not
            )
        except openai.APIStatusError as error:
            if error.status_code in _REFUSING_STATUSES:
                parameters_fault = error.status_code in _PARAMETER_STATUSES
                raise RequestRefusedError(
                    str(error)[:_SHOWN_CHARACTERS], perhaps_parameters=parameters_fault
                ) from error
            raise
        return response.http_response.content

    def _parsed(self, content: bytes) -> ChatAnswer:
        try:
            completion = _Completion.model_validate_json(content)
        except ValidationError as error:
            raise MalformedAnswerError(
                f"{self._client.base_url} sent {content[:80]!r}, which is no chat completion"
            ) from error
        if completion.usage is None:
            raise MissingUsageError(
                f"{self._client.base_url} reports no token usage, without which costs cannot be compared"
            )
        usage, choice = completion.usage, completion.choices[0]
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
        return ChatAnswer(
            text=choice.message.answer(),
            finish_reason=choice.finish_reason,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=min(cached or 0, usage.prompt_tokens),
        )


def _cost(ledger: TokenLedger, answer: ChatAnswer | None) -> float | None:
    if ledger.prices is None or answer is None:
        return None
    return ledger.prices.cost(answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)


def _is_passing(failure: Exception) -> bool:
    if isinstance(failure, openai.APIStatusError):
        return failure.status_code in _PASSING_STATUSES or failure.status_code >= 500
    return isinstance(failure, (openai.APIConnectionError, TimeoutError, MalformedAnswerError))


def retry_pause(attempts: int, retry_after: str | None, longest_wait: float) -> float | None:
    """Return the seconds to wait before a request is sent again; None when the server wants too long a wait.

    Args:
        attempts: times that it was sent, from 1.
        retry_after: the server's `Retry-After` header; None, or one that cannot be read, for exponential back-off.
        longest_wait: seconds that the server may ask for.

    Returns:
        What the server asks for and up to a tenth more, or half to all of `0.5 * 2 ** (attempts - 1)`, at most 60.
    """
    wished = None if retry_after is None else _seconds(retry_after)
    if wished is None:
        return min(_FIRST_PAUSE * 2.0 ** min(attempts - 1, 16), _LONGEST_OWN_PAUSE) * random.uniform(0.5, 1)
    return None if wished > longest_wait else wished * random.uniform(1, 1.1)


def _retry_after_header(failure: Exception) -> str | None:
    return failure.response.headers.get("retry-after") if isinstance(failure, openai.APIStatusError) else None


def _seconds(header: str) -> float | None:
    """Return the seconds of a `Retry-After` header, a number or a date (RFC 9110, 10.2.3); None if it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)
