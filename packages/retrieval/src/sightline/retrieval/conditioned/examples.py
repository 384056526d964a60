"""Retrieval examples: pages whose right chunks are known because an expert clicked on something in them.

An expert's click names its target, so the chunks of the page that hold the target are the ones to have read. This
gives labels without annotation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sightline.retrieval.jsonl import read_jsonl, write_jsonl

_CLICK = re.compile(r"\s*click\[(.*)\]\s*", re.IGNORECASE | re.DOTALL)


class RetrievalExample(BaseModel):
    """One moment of an episode: what had happened, the chunks of the page, and which of them mattered."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    episode_id: str = Field(min_length=1)
    """The episode; examples of one episode belong on the same side of a train/validation split."""
    t: int = Field(ge=0)
    """Step within the episode."""
    instruction: str
    """What the user asked for."""
    events: tuple[tuple[Literal["OBS", "ACT"], str], ...]
    """The episode up to and including the current page: `["OBS", page]` and `["ACT", action]`, oldest first."""
    obs_text: str
    """The current page."""
    chunks: tuple[str, ...] = Field(min_length=1)
    """Chunks of the current page, in page order."""
    pos_idx: tuple[int, ...] = Field(min_length=1)
    """Indices of the chunks that hold the target of the action."""
    neg_idx: tuple[int, ...]
    """Indices of chunks that do not: all others, or a sample of them."""
    action: str = Field(min_length=1)
    """What the expert did next."""

    @model_validator(mode="after")
    def _indices_fit(self) -> Self:
        indices = (*self.pos_idx, *self.neg_idx)
        if len(set(indices)) != len(indices):
            raise ValueError("pos_idx and neg_idx must not repeat or share an index")
        if min(indices) < 0 or max(indices) >= len(self.chunks):
            raise ValueError(f"pos_idx and neg_idx must be indices into the {len(self.chunks)} chunks")
        return self


def label_chunks(action: str, chunks: Sequence[str]) -> tuple[int, ...]:
    """Find the chunks that hold the target of a click.

    Where the target is the whole label of a button (`[button] X [button_]`, also clicked already), only chunks with
    that button count: on a page that offers the size "m" every word with an m would match otherwise. Else every chunk
    counts that holds the target anywhere. Case is ignored.

    Args:
        action: action of the expert, for example `click[Buy Now]`.
        chunks: the chunks of the page.

    Returns:
        Indices in ascending order; empty for searches, for anything else that is not a click, and without a match.
    """
    match = _CLICK.fullmatch(action)
    target = match[1].strip().lower() if match else ""
    if not target:
        return ()
    buttons = (f"[button] {target} [button_]", f"[clicked button] {target} [clicked button_]")
    lowered = [chunk.lower() for chunk in chunks]
    labelled = tuple(index for index, chunk in enumerate(lowered) if any(button in chunk for button in buttons))
    return labelled or tuple(index for index, chunk in enumerate(lowered) if target in chunk)


def build_example(
    *,
    episode_id: str,
    t: int,
    instruction: str,
    events: Iterable[tuple[Literal["OBS", "ACT"], str]],
    obs_text: str,
    chunks: Sequence[str],
    action: str,
    label: Callable[[str, Sequence[str]], tuple[int, ...]] = label_chunks,
    num_negatives: int | None = None,
    rng: np.random.Generator | None = None,
) -> RetrievalExample | None:
    """Label one step of an episode.

    Args:
        episode_id: name of the episode.
        t: step within the episode.
        instruction: wish of the user.
        events: the episode up to and including the current page.
        obs_text: the current page.
        chunks: its chunks, in page order.
        action: action of the expert on this page.
        label: function that finds the chunks which hold an action's target, as `label_chunks` does for clicks.
        num_negatives: number of negatives to draw without replacement; None for all.
        rng: source of the draw; needed with `num_negatives`, and consumed.

    Returns:
        The example, or None where there is nothing to learn: no chunk holds the target, or all do.

    Raises:
        ValueError: `num_negatives` is not positive or comes without `rng`; a field is not valid.
    """
    if num_negatives is not None and (num_negatives < 1 or rng is None):
        raise ValueError(f"num_negatives must be at least 1 and come with an rng, not {num_negatives!r} and {rng!r}")
    positives = label(action, chunks)
    negatives = [index for index in range(len(chunks)) if index not in positives]
    if not positives or not negatives:
        return None
    if num_negatives is not None and rng is not None and num_negatives < len(negatives):
        negatives = sorted(rng.choice(negatives, size=num_negatives, replace=False).tolist())
    return RetrievalExample(
        episode_id=episode_id,
        t=t,
        instruction=instruction,
        events=tuple(events),
        obs_text=obs_text,
        chunks=tuple(chunks),
        pos_idx=positives,
        neg_idx=tuple(negatives),
        action=action,
    )


def write_examples(path: str | Path, examples: Sequence[RetrievalExample]) -> None:
    """Write examples as JSONL, atomically.

    Args:
        path: the file, replaced if there is one.
        examples: one line each, in this order.

    Raises:
        OSError: the disk refused; a file that was there before is as it was.
    """
    write_jsonl(Path(path), tuple(examples))


def read_examples(path: str | Path) -> list[RetrievalExample]:
    """Read examples from JSONL.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not an example; the message names file, line and field.
    """
    return read_jsonl(Path(path), RetrievalExample)
