"""The ledger of a chat API: one durable row per request, with its tokens, its cost and how long it took.

A ledger is a JSON Lines file. Any number of processes may add to one file, and a row is on disk when `append` returns.
This module knows nothing of prompts, answers or how requests are sent.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from sightline.agents.chat.prices import TokenPrices
from sightline.retrieval.jsonl import DurableLines, parse_record

logger = logging.getLogger(__name__)


class LedgerRow(BaseModel):
    """One request that was sent.

    Tokens and cost are None when no attempt brought a usable answer, since then nobody said what the server spent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    time: AwareDatetime
    """Moment at which the request ended."""
    request: str
    """SHA-256 of the request, in hexadecimal; the name of its entry in an `AnswerCache`."""
    model: str
    """The model's name at the server."""
    prompt_tokens: int | None = Field(default=None, ge=0)
    """Tokens that the model read."""
    completion_tokens: int | None = Field(default=None, ge=0)
    """Tokens that the model wrote."""
    cached_tokens: int | None = Field(default=None, ge=0)
    """Tokens of the prompt that the server took from its own cache."""
    cost: float | None = Field(default=None, ge=0)
    """Cost in the currency of the prices; None as well when the ledger has no prices."""
    latency: float = Field(ge=0)
    """Seconds from the first attempt to the end, pauses between attempts included."""
    attempts: int = Field(ge=1)
    """Times that it was sent. What attempts without a usable answer cost, only the server's bill tells."""
    error: str | None = None
    """Reason why there is no answer."""


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """Totals of a ledger."""

    requests: int
    """Number of rows."""
    unanswered: int
    """Rows with an error, whose tokens and cost are unknown and in none of the totals."""
    attempts: int
    """Requests that were sent, repetitions included."""
    prompt_tokens: int
    """Tokens that the model read, cached ones included."""
    completion_tokens: int
    """Tokens that the model wrote."""
    cached_tokens: int
    """Tokens of the prompts that the server took from its own cache."""
    cost: float | None
    """Cost in the currency of the prices; None when an answered request has no price."""
    latency: float
    """Seconds, summed over requests, which may have run at the same time."""


class TokenLedger:
    """Adds rows to a ledger file and sums them up.

    Args:
        path: the file; made, with its folder, by the first row.
        prices: prices of the model's tokens; None to leave costs open.
    """

    def __init__(self, path: Path, prices: TokenPrices | None = None) -> None:
        self.path = path
        self._lines = DurableLines(path)
        self.prices = prices

    def append(self, row: LedgerRow) -> None:
        """Add a row; when this returns, it is on disk.

        Raises:
            OSError: the row could not be written, for example on a full disk.
        """
        self._lines.append(row.model_dump_json().encode())

    def rows(self) -> Iterator[LedgerRow]:
        """Yield the rows in the order they were added, those of other processes included; none where there is no file.

        A row that a crash cut off was never acknowledged; it is left out, with a warning.

        Raises:
            RecordError: a line is JSON, but no row of a ledger; the message names file, line and field.
        """
        for where, line in self._lines.read():
            if not line.strip():
                continue
            if _is_json(line):
                remedy = "Give another file as ledger, or remove the line."
                yield parse_record(LedgerRow, line, where=where, remedy=remedy)
            else:
                logger.warning("%s: a row that was cut off is left out", where)

    def summary(self) -> LedgerSummary:
        """Return totals over all rows, those of other processes included.

        Raises:
            RecordError: as for `rows`.
        """
        rows = list(self.rows())
        answered = [row for row in rows if row.error is None]
        costs = [row.cost for row in answered]
        return LedgerSummary(
            requests=len(rows),
            unanswered=len(rows) - len(answered),
            attempts=sum(row.attempts for row in rows),
            prompt_tokens=sum(row.prompt_tokens or 0 for row in answered),
            completion_tokens=sum(row.completion_tokens or 0 for row in answered),
            cached_tokens=sum(row.cached_tokens or 0 for row in answered),
            cost=None if None in costs else math.fsum(cost for cost in costs if cost is not None),
            latency=math.fsum(row.latency for row in rows),
        )


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
