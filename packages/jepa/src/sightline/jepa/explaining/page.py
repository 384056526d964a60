"""One explanation as a short, self-contained HTML page for the person who has to decide.

Needs no network and runs no script. All text comes from outside and is escaped, stripped of control characters and cut
to a length; nothing in it can become markup. This module knows nothing of models.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from html import escape
from typing import Final

from sightline.jepa.explaining.decisions import ActionableSignal, Reason
from sightline.jepa.explaining.explanation import Explanation

_LONGEST_TEXT: Final = 240
_RESULTS: Final = 5
_SUBSPACES: Final = 5
_PAIRS: Final = 3

_SIGNALS: Final = {
    ActionableSignal.TRUST: "Use the first result.",
    ActionableSignal.CHECK: "Look through the results: a right one is probably among them, but perhaps not first.",
    ActionableSignal.ASK: "Ask which area is meant: it is not clear enough where to look.",
    ActionableSignal.ABSTAIN: "Give no answer: a right source is probably not among the results.",
}

_REASONS: Final = {
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

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5b6670; --line: #d9dee3; --paper: #fff; --card: #f4f6f8;
        --accent: #0b6e6e; --trust: #1b6e37; --check: #0b5f8a; --ask: #8a5a00; --abstain: #9c2b2b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa5af; --line: #343b42; --paper: #15191d; --card: #1f252b; --accent: #5cc9c0;
          --trust: #6fd08c; --check: #79c2ee; --ask: #e9b655; --abstain: #f09090; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
       padding: 1.5rem 1.25rem 2.5rem; max-width: 46rem; overflow-wrap: anywhere; }
h1 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .2rem; }
h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .3rem 0; }
.soft { color: var(--soft); font-size: .88rem; }
.signal { background: var(--card); border-left: 5px solid var(--tone); padding: .7rem 1rem; margin: 1rem 0 0; }
.signal strong { color: var(--tone); letter-spacing: .04em; text-transform: uppercase; }
.signal ul { margin: .4rem 0 0; padding-left: 1.2rem; }
.trust { --tone: var(--trust); } .check { --tone: var(--check); }
.ask { --tone: var(--ask); } .abstain { --tone: var(--abstain); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.bar { width: 38%; }
meter { width: 100%; height: .8rem; }
"""


def render_card(
    explanation: Explanation,
    *,
    question: str,
    steering: str | None,
    source_text: Callable[[int], str],
    known_text: Callable[[int], str],
) -> str:
    """Render the page: what to do, what was found, where it was looked for, and what that rests on.

    Args:
        explanation: what to show.
        question: as it was asked.
        steering: the steering in words; None if there was none.
        source_text: text of the source with an id.
        known_text: text of the known question with a row number.

    Raises:
        ValueError: steering is None although the explanation had some, or the other way round.
    """
    if (steering is not None) != explanation.steering_given:
        raise ValueError(
            f"the explanation was made {'with' if explanation.steering_given else 'without'} steering, "
            f"but the card is given {steering!r:.80}"
        )
    signal = explanation.actionable_signal
    given = f"Steering: <bdi>{_text(steering)}</bdi>" if steering is not None else "No steering was given."
    reasons = "".join(f"<li>{_REASONS[reason]}</li>" for reason in explanation.reasons)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{signal.value}: {_text(question)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1><bdi>{_text(question)}</bdi></h1>
<p class="soft">{given}</p>
<div class="signal {signal.value}">
<p><strong>{signal.value}</strong> {_SIGNALS[signal]}</p>
<ul>{reasons}</ul>
</div>
{_probabilities(explanation)}
{_results(explanation, source_text)}
{_routing(explanation)}
<h2>What steering changed</h2>
<p>{_influence(explanation)}</p>
{_known(explanation, known_text, source_text)}
<p class="soft">Atypicality: {_percent(explanation.atypicality)} of the predictions on validation questions lean on
their area more than this one.</p>
</body>
</html>
"""


def _probabilities(explanation: Explanation) -> str:
    rows = (
        ("The first result is right", explanation.confidence),
        ("A right one is among the ten results", explanation.results_confidence),
        (f"“{_text(explanation.primary_subspace)}” is the right area", explanation.subspace_confidence),
    )
    body = "".join(
        f'<tr><td>{label}</td><td class="bar">{_bar(share, label)}</td><td class="number">{_percent(share)}</td></tr>\n'
        for label, share in rows
    )
    return f"<h2>How likely</h2>\n<table>\n{body}</table>"


def _results(explanation: Explanation, source_text: Callable[[int], str]) -> str:
    steered = explanation.steering_given
    rows = []
    for place, result in enumerate(explanation.results[:_RESULTS], start=1):
        rank = f'<td class="number">{result.rank_without_steering:,}</td>' if steered else ""
        rows.append(
            f'<tr><td class="number">{place}</td><td><bdi>{_text(source_text(result.source))}</bdi>'
            f'<br><span class="soft"><bdi>{_text(result.subspace)}</bdi></span></td>'
            f'<td class="number">{result.score:.2f}</td>{rank}</tr>\n'
        )
    unsteered = '<th class="number" scope="col">unsteered</th>' if steered else ""
    return (
        '<h2>What was found</h2>\n<table>\n<tr><th scope="col"></th><th scope="col">source</th>'
        f'<th class="number" scope="col">score</th>{unsteered}</tr>\n{"".join(rows)}</table>'
    )


def _routing(explanation: Explanation) -> str:
    weights = sorted(explanation.routing_distribution.items(), key=lambda item: -item[1])
    shown = [(_text(name), weight) for name, weight in weights[:_SUBSPACES]]
    if len(weights) > _SUBSPACES:
        shown.append((f"{len(weights) - _SUBSPACES} others", sum(weight for _, weight in weights[_SUBSPACES:])))
    rows = "".join(
        f'<tr><td><bdi>{name}</bdi></td><td class="bar">{_bar(weight, name)}</td>'
        f'<td class="number">{_percent(weight)}</td></tr>\n'
        for name, weight in shown
    )
    return f"<h2>Where it was looked for</h2>\n<table>\n{rows}</table>"


def _influence(explanation: Explanation) -> str:
    if not explanation.steering_given:
        return "Nothing, as none was given."
    before, after = _text(explanation.primary_without_steering), _text(explanation.primary_subspace)
    area = f"the area stayed “{after}”" if before == after else f"the area went from “{before}” to “{after}”"
    return (
        f"With it {area} (divergence {explanation.steering_influence:.2f} nats), "
        f"and the rank of a typical result changed by a factor of {2**explanation.rank_change:,.1f}."
    )


def _known(explanation: Explanation, known_text: Callable[[int], str], source_text: Callable[[int], str]) -> str:
    rows = "".join(
        f'<tr><td><bdi>{_text(known_text(pair.known))}</bdi><br><span class="soft"><bdi>'
        f'{_text(source_text(pair.source))}</bdi></span></td><td class="number">{pair.similarity:.2f}</td></tr>\n'
        for pair in explanation.similar_known_pairs[:_PAIRS]
    )
    return (
        '<h2>Closest known questions</h2>\n<table>\n<tr><th scope="col">question, and what answers it</th>'
        f'<th class="number" scope="col">cosine</th></tr>\n{rows}</table>'
    )


def _bar(share: float, label: str) -> str:
    return f'<meter min="0" max="1" value="{min(max(share, 0.0), 1.0):.4f}" aria-label="{label}"></meter>'


def _percent(share: float) -> str:
    return "under 1 %" if 0 < share < 0.01 else "over 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _text(text: str) -> str:
    """Text of unknown origin, made safe: no control or bidirectional characters, one line, short, escaped."""
    text = text[: 10 * _LONGEST_TEXT]  # so that a huge page costs nothing
    shown = "".join(" " if unicodedata.category(character).startswith("C") else character for character in text)
    shown = " ".join(shown.split())
    return escape(shown if len(shown) <= _LONGEST_TEXT else shown[: _LONGEST_TEXT - 1] + "…")
