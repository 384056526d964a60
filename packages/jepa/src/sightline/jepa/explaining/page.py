"""One explanation as a short, self-contained HTML page for the person who has to decide.

Needs no network and runs no script. All text comes from outside and is escaped, stripped of control characters and cut
to a length; nothing in it can become markup. This module knows nothing of models.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from sightline.jepa.explaining.decisions import ActionableSignal, Reason
from sightline.jepa.explaining.explanation import Explanation

_TEMPLATE: Final = "page.html.jinja"
_LONGEST_TEXT: Final = 240
_RESULTS: Final = 5
_SUBSPACES: Final = 5
_PAIRS: Final = 3
_APART: Final = 0.2
"""Difference of routing weight and calibrated probability from which on the page says why they differ."""

SIGNALS: Final = {
    ActionableSignal.TRUST: "Use the first result.",
    ActionableSignal.CHECK: "Look through the results: a right one is probably among them, but perhaps not first.",
    ActionableSignal.ASK: "Ask which area is meant: none was given, and the question alone does not tell.",
    ActionableSignal.ABSTAIN: "Give no answer: a right source is probably not among the results.",
}
"""What each signal advises."""

REASONS: Final = {
    Reason.FIRST_RESULT_LIKELY: "The first result is likely to be right.",
    Reason.FIRST_RESULT_UNLIKELY: "The first result is not certain enough to be used unseen.",
    Reason.RESULTS_LIKELY: "A right source is probably among the ten results.",
    Reason.RESULTS_UNLIKELY: "A right source is probably not among the ten results.",
    Reason.SUBSPACE_UNCERTAIN: "The area is uncertain.",
    Reason.STEERING_MISSING: "No steering was given.",
    Reason.STEERING_DISPUTED: "The steering points to one area, the question alone to another.",
    Reason.NARROW_MARGIN: "The second result is almost as close as the first.",
    Reason.ATYPICAL: "The prediction leans on its area unusually little.",
    Reason.UNFAMILIAR: "No known question is close to this one.",
}
"""What each reason says."""


def render_page(
    explanation: Explanation,
    *,
    question: str,
    steering: str | None,
    source_text: Callable[[int], str],
    known_text: Callable[[int], str],
    notice: str = "",
) -> str:
    """Render the page: what to do, what was found, where it was looked for, and what that rests on.

    Args:
        explanation: explanation to show.
        question: question as it was asked.
        steering: the steering in words; None if there was none.
        source_text: function from the id of a source to its text.
        known_text: function from the row of a known question to its text.
        notice: sentence that stands above everything else, for example that the explanation is only a trial.

    Raises:
        ValueError: steering is None although the explanation had some, or the other way round.
    """
    if (steering is not None) != explanation.has_steering:
        raise ValueError(
            f"the explanation was made {'with' if explanation.has_steering else 'without'} steering, "
            f"but the page is given {steering!r:.80}"
        )
    return _template().render(
        explanation=explanation,
        question=question,
        steering=steering,
        notice=notice,
        signals=SIGNALS,
        reasons=REASONS,
        results=[(result, source_text(result.source)) for result in explanation.results[:_RESULTS]],
        routing=_largest(explanation.routing_distribution),
        primary_weight=_apart(explanation),
        known=[
            (pair, known_text(pair.known), source_text(pair.source))
            for pair in explanation.similar_known_pairs[:_PAIRS]
        ],
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": _shown, "percent": _percent}
    return environment.get_template(_TEMPLATE)


def _largest(routing: dict[str, float]) -> list[tuple[str, float]]:
    """Return the subspaces with the largest weights, and the rest of them together."""
    weights = sorted(routing.items(), key=lambda item: -item[1])
    rest = weights[_SUBSPACES:]
    others = [(f"{len(rest)} others", sum(weight for _, weight in rest))] if rest else []
    return [*weights[:_SUBSPACES], *others]


def _apart(explanation: Explanation) -> float | None:
    """Return the largest routing weight where it says something else than the probability that the area is right."""
    weight = explanation.routing_distribution[explanation.primary_subspace]
    return weight if abs(weight - explanation.subspace_confidence) >= _APART else None


def _percent(share: float) -> str:
    return "under 1 %" if 0 < share < 0.01 else "over 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _shown(text: str) -> str:
    """Return a text of unknown origin in one short line without control or bidirectional characters."""
    text = text[: 10 * _LONGEST_TEXT]  # so that a huge page costs nothing
    plain = "".join(" " if unicodedata.category(character).startswith("C") else character for character in text)
    line = " ".join(plain.split())
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"
