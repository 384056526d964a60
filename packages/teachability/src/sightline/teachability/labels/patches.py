"""In-context teaching: what a text shown beside the page changes, without playing a single episode.

A text that is shown at the snapshot alone changes the first distribution and nothing else, so its gain is a sum over
the actions, exact wherever their values are. The format is chosen on one half of the wordings and valued on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.protocols import ActionPolicy, ask_policy
from sightline.teachability.records import (
    PATCH_FORMATS,
    Bound,
    PatchEffect,
    PatchFormat,
    PatchKind,
    PatchLabels,
    Snapshot,
    TeacherHint,
)
from sightline.teachability.supervision.formats import PatchTemplates, render_patch
from sightline.teachability.views import StateView

KINDS: tuple[PatchKind, ...] = ("demo", "contrast", "hint", "placebo", "mismatched", "answer")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a teaching text is made of."""

    snapshot: Snapshot
    """The moment."""
    hint: TeacherHint
    """The teacher's."""
    avoid: str
    """What not to do: what the student took, or its likeliest other action where it took the teacher's."""


def avoided(snapshot: Snapshot, hint: TeacherHint, probabilities: NDArray[np.float64]) -> str:
    """Return the action that a contrast warns of."""
    if snapshot.taken != hint.action or len(snapshot.actions) < 2:
        return snapshot.taken
    order = np.argsort(-probabilities, kind="stable").tolist()
    return next(snapshot.actions[i] for i in order if snapshot.actions[i] != hint.action)


def render_all(moment: Moment, other: Moment | None, templates: PatchTemplates) -> dict[tuple[PatchKind, int], str]:
    """Return the texts of all formats and controls, in all wordings.

    Args:
        moment: where the texts will be shown.
        other: a moment of another task, for the mismatched demo; without one that control is left out.
        templates: wordings.
    """
    texts = {}
    for kind in KINDS:
        source = other if kind == "mismatched" else moment
        if source is not None:
            for paraphrase in range(templates.paraphrases):
                texts[kind, paraphrase] = render_patch(
                    kind, source.snapshot, source.hint, templates, paraphrase=paraphrase, avoid=source.avoid
                )
    return texts


def measure_patches(
    policy: ActionPolicy,
    view: StateView,
    q: Sequence[Bound],
    texts: Mapping[tuple[PatchKind, int], str],
    *,
    gain_all: Mapping[PatchKind, Bound] | None = None,
    name: str = "",
) -> PatchLabels:
    """Return what every text does at a state.

    Args:
        policy: the student.
        view: the state.
        q: [A] chance of success after each action, as the student goes on without any text.
        texts: texts by kind and wording; a placebo per wording must be among them.
        gain_all: gains of texts that are shown at every step, in their first wording, where they were measured.
        name: what to call the state in errors.
    """
    keys = list(texts)
    answers = ask_policy(
        policy, [view] * len(keys), [texts[key] for key in keys], names=[name or "a state"] * len(keys)
    )
    under = dict(zip(keys, answers, strict=True))
    effects = []
    for (kind, paraphrase), probabilities in under.items():
        shift = probabilities - under["placebo", paraphrase]
        effects.append(
            PatchEffect(
                kind=kind,
                paraphrase=paraphrase,
                probabilities=tuple(probabilities.tolist()),
                gain0=weigh(shift, q),
                gain_all=(gain_all or {}).get(kind) if paraphrase == 0 else None,
            )
        )
    gains: dict[PatchFormat, list[Bound]] = {
        format_: [effect.gain0 for effect in effects if effect.kind == format_] for format_ in PATCH_FORMATS
    }
    elp, routes = cross_fit(gains)
    best = max(PATCH_FORMATS, key=lambda one: _mean(gains[one]).estimate)
    return PatchLabels(effects=tuple(effects), elp=elp, routes=routes, route=best)


def weigh(weights: NDArray[np.float64], bounds: Sequence[Bound]) -> Bound:
    """Return a weighted sum of bounded numbers, by interval arithmetic; weights of exactly 0 add exactly nothing."""
    low = high = estimate = 0.0
    mixed = False
    for weight, bound in zip(weights.tolist(), bounds, strict=True):
        if weight == 0:
            continue
        ends = (weight * bound.low, weight * bound.high)
        low, high, estimate = low + min(ends), high + max(ends), estimate + weight * bound.estimate
        mixed |= bound.method in ("mixed", "sampled")
    return Bound(low=low, high=high, estimate=estimate, method="mixed" if mixed else "graph")


def cross_fit(gains: Mapping[PatchFormat, Sequence[Bound]]) -> tuple[Bound, tuple[PatchFormat, PatchFormat]]:
    """Return the payoff of choosing the best format, and the formats chosen on either half.

    The largest of several noisy gains is too large on average. So the choice is made on the even wordings and its value
    read from the odd ones, and the reverse; the two values are averaged.

    Args:
        gains: per format, one gain per wording; at least two wordings.
    """
    halves = [{format_: _mean(of_format[half::2]) for format_, of_format in gains.items()} for half in (0, 1)]
    first, second = (max(half, key=lambda one: half[one].estimate) for half in halves)
    return _mean([halves[1][first], halves[0][second]]), (first, second)


def _mean(bounds: Sequence[Bound]) -> Bound:
    return weigh(np.full(len(bounds), 1 / len(bounds)), bounds)
