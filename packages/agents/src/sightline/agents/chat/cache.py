"""Answers of a chat API, kept on disk under the request that they answer.

An entry is a JSON file named by the SHA-256 of its request. Any number of processes may share a folder.
This module knows nothing of how requests are made, sent or paid.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import RecordError, parse_record

logger = logging.getLogger(__name__)


class ChatAnswer(BaseModel):
    """What a chat model said, and what it read and wrote for that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    """Text of the answer."""
    finish_reason: str | None
    """Why the model ended: `stop`, `length` or what else the server reports."""
    prompt_tokens: int = Field(ge=0)
    """Tokens that the model read."""
    completion_tokens: int = Field(ge=0)
    """Tokens that the model wrote."""
    cached_tokens: int = Field(ge=0)
    """Tokens of the prompt that the server took from its own cache."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    request: dict[str, JsonValue]
    answer: ChatAnswer


def request_digest(request: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256, in hexadecimal, of a request as canonical JSON: keys sorted, no white space, ASCII.

    Raises:
        ValueError: a number is not finite, which JSON cannot say.
    """
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerCache:
    """A folder of answers.

    Args:
        folder: made when the first answer is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, request: Mapping[str, JsonValue]) -> ChatAnswer | None:
        """Return the answer to a request; None when there is none, or none that can be read."""
        path = self._path(request)
        try:
            entry = parse_record(_Entry, path.read_bytes(), where=str(path))
        except FileNotFoundError:
            return None
        except (RecordError, OSError) as error:
            logger.warning("A cached answer is of no use, so the request is made again: %s", error)
            return None
        if entry.request != request:
            logger.warning("%s holds the answer to another request, so the request is made again", path)
            return None
        return entry.answer

    def keep(self, request: Mapping[str, JsonValue], answer: ChatAnswer) -> ChatAnswer:
        """Keep an answer, unless the request has one: the first answer stays, so that a replay says the same.

        When two processes keep the first answer at the same moment, the later one stays.

        Returns:
            The answer that `get` gives from now on.

        Raises:
            OSError: the entry could not be written.
        """
        kept = self.get(request)
        if kept is not None:
            return kept
        with atomic_file(self._path(request)) as file:
            file.write(_Entry(request=dict(request), answer=answer).model_dump_json().encode() + b"\n")
        return answer

    def _path(self, request: Mapping[str, JsonValue]) -> Path:
        digest = request_digest(request)
        return self.folder / digest[:2] / f"{digest}.json"
