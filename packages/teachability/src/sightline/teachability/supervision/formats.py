"""Teaching texts: how a hint becomes a few words that stand beside a page. Pure functions over text.

A text never holds more of a page than the first and last words of it, and is one bounded line, whatever the page says.
This module knows nothing of models, prompts or values.
"""

from __future__ import annotations

import string
from typing import Final, Self

from pydantic import Field, model_validator

from sightline.teachability.records import ErrorType, PatchKind, Record, Snapshot, TeacherHint

_BRIEF_WORDS = 25
_MAX_CHARACTERS = 400
_FIELDS: Final = {
    "demo": {"brief", "action", "reason"},
    "contrast": {"brief", "action", "reason", "avoid", "why_bad"},
    "hint": {"brief", "insight"},
    "answer": {"action"},
    "placebo": set(),
}
_PLACEBO = (
    "take a moment to look at the page and consider the situation before you go on",
    "there is no hurry so read what is written here and think about what to do next",
)
WHY_BAD: Final[dict[ErrorType, str]] = {
    "affordance_miss": "it overlooks what the page offers",
    "attribute_confusion": "it mistakes one property for another",
    "planning_error": "it does not lead towards the goal from here",
    "exploration_failure": "it stays where everything has been seen",
    "unknown": "it makes success less likely",
}
DIAGNOSES: Final[dict[ErrorType, str]] = {
    "affordance_miss": "look at everything that the page lets you do",
    "attribute_confusion": "compare what is asked for with what is shown, property by property",
    "planning_error": "think of which step has to come before which",
    "exploration_failure": "look somewhere that you have not looked yet",
    "unknown": "ask what is still missing to reach the goal",
}


class PatchTemplates(Record):
    """Wordings of the teaching texts, at least two of each, so that what is learnt of a format is not one wording's."""

    demo: tuple[str, ...] = Field(
        (
            "an example from a situation like this one: {brief} the right action was {action}, because {reason}",
            "someone who stood before such a page ({brief}) did well to choose {action}: {reason}",
        ),
        min_length=2,
    )
    """An example; may hold {brief}, {action}, {reason}."""
    contrast: tuple[str, ...] = Field(
        (
            "do not choose {avoid}: {why_bad}; choose {action} instead: {reason}",
            "{avoid} would be a mistake here, {why_bad}; better is {action}, since {reason}",
        ),
        min_length=2,
    )
    """What to avoid and what to do; may hold {brief}, {action}, {reason}, {avoid}, {why_bad}."""
    hint: tuple[str, ...] = Field(("think about this: {insight}", "what matters here: {insight}"), min_length=2)
    """An insight that names no action; may hold {brief}, {insight}."""
    answer: tuple[str, ...] = Field(("{action}", "the answer is {action}"), min_length=2)
    """The bare answer, a control; may hold {action}."""

    @model_validator(mode="after")
    def _names_known_fields(self) -> Self:
        counts = set()
        for kind in ("demo", "contrast", "hint", "answer"):
            templates: tuple[str, ...] = getattr(self, kind)
            counts.add(len(templates))
            for template in templates:
                names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
                if unknown := names - _FIELDS[kind]:
                    raise ValueError(f"{kind} template {template!r} asks for {sorted(unknown)}; has {_FIELDS[kind]}")
        if len(counts) != 1 or counts.pop() % 2:
            raise ValueError("every format needs the same even number of wordings: one half chooses, the other values")
        return self

    @property
    def paraphrases(self) -> int:
        """Wordings of each format."""
        return len(self.demo)


def render_patch(
    kind: PatchKind,
    snapshot: Snapshot,
    hint: TeacherHint,
    templates: PatchTemplates,
    *,
    paraphrase: int = 0,
    avoid: str | None = None,
) -> str:
    """Return the teaching text of a snapshot.

    Args:
        kind: format or control. `mismatched` is the demo of the given snapshot, which should be another one than
            where it is shown; `placebo` has as many words as the three formats have on average.
        snapshot: the moment that the text is about.
        hint: the teacher's.
        templates: wordings.
        paraphrase: which wording.
        avoid: what not to do; default what the student took.
    """
    if kind == "placebo":
        texts = [
            render_patch(one, snapshot, hint, templates, paraphrase=paraphrase, avoid=avoid)
            for one in ("demo", "contrast", "hint")
        ]
        return placebo(round(sum(len(text.split()) for text in texts) / len(texts)), paraphrase=paraphrase)
    template = getattr(templates, "demo" if kind == "mismatched" else kind)[paraphrase]
    text = template.format(
        brief=brief(snapshot.observation),
        action=hint.action,
        reason=_one_line(hint.rationale) or "it leads on",
        avoid=avoid or snapshot.taken,
        why_bad=WHY_BAD[hint.error_type],
        insight=insight(hint),
    )
    return _bounded(_one_line(text))


def placebo(words: int, *, paraphrase: int = 0) -> str:
    """Return a text of so many words that says nothing about what to do."""
    filler = _PLACEBO[paraphrase % len(_PLACEBO)].split()
    return " ".join(filler[position % len(filler)] for position in range(max(words, 1)))


def brief(observation: str) -> str:
    """Return the first and last 25 words of a page, in one line."""
    words = observation.split()
    if len(words) <= 2 * _BRIEF_WORDS:
        return " ".join(words)
    return " ".join([*words[:_BRIEF_WORDS], "...", *words[-_BRIEF_WORDS:]])


def insight(hint: TeacherHint) -> str:
    """Return what is behind a hint without naming its action.

    That is what its rationale says after "because", or all of it; where this names the action or what is clicked on,
    the diagnosis of its error type takes its place.
    """
    text = _one_line(hint.rationale)
    head, _, reason = text.partition("because ")
    text = reason or head
    target = hint.action.partition("[")[2].removesuffix("]") or hint.action
    named = hint.action.casefold() in text.casefold() or target.casefold() in text.casefold()
    return DIAGNOSES[hint.error_type] if named or not text else text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _bounded(text: str) -> str:
    """Return the text with its middle cut out where it is too long: what matters stands at its ends."""
    if len(text) <= _MAX_CHARACTERS:
        return text
    half = (_MAX_CHARACTERS - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
