"""Hints: asking a teacher, checking what it says against the page, asking once more, grading it by values.

Nothing a teacher says is taken on trust: an action that the page does not offer is no hint. This module knows nothing
of where a teacher's answers come from.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence

from pydantic import Field, ValidationError

from sightline.teachability.ledger import Ledger
from sightline.teachability.protocols import S, Teacher
from sightline.teachability.records import Bound, Grade, Record, Refusal, TeacherHint
from sightline.teachability.views import StateView

MARGIN = 0.02
"""Change of the chance of success from which a hint improves or harms."""

_SHOWN_CHARACTERS = 4000
_QUOTED_CHARACTERS = 200

AskFn = Callable[[str, int], str]
"""Sends a prompt to a model and returns its answer; the number is a nonce that must be part of any cache key."""


class HintAnswer(Record):
    """The JSON object that a model must answer with."""

    suggested_action: str
    rationale: str = Field(max_length=2000)
    error_type: str
    confidence: str


def ask_teacher(
    teacher: Teacher[S], views: Sequence[StateView], states: Sequence[S], *, ledger: Ledger | None = None
) -> list[TeacherHint | Refusal]:
    """Return a hint whose action the page offers, or a refusal, per state; unusable answers are asked for once more."""
    if not views:
        return []
    answers = [check_hint(one, view) for one, view in zip(teacher.advise(views, states), views, strict=True)]
    again = [index for index, answer in enumerate(answers) if isinstance(answer, Refusal)]
    if again:
        retried = teacher.advise([views[i] for i in again], [states[i] for i in again], nonce=1)
        for index, answer in zip(again, retried, strict=True):
            answers[index] = check_hint(answer, views[index])
    if ledger:
        ledger.teacher_calls += len(views) + len(again)
    return answers


def check_hint(hint: TeacherHint | Refusal, view: StateView) -> TeacherHint | Refusal:
    """Return the hint if the page offers its action, letter case aside, else a refusal that says what it named."""
    if isinstance(hint, Refusal):
        return hint
    for action in view.actions:
        if action.casefold() == hint.action.casefold():
            return hint.model_copy(update={"action": action})
    named = hint.action[:_QUOTED_CHARACTERS]
    return Refusal(reason=f"named {named!r}, which is none of the {len(view.actions)} actions")


def grade_hint(value: Bound, taught: Bound) -> Grade:
    """Return whether the teacher's action certainly improves the student, certainly harms it, or neither.

    Args:
        value: chance of success as the student goes on.
        taught: chance after the teacher's action.
    """
    if taught.low >= value.high + MARGIN:
        return "improves"
    return "harmful" if taught.high < value.low - MARGIN else "neutral"


class PromptedTeacher:
    """A teacher that is a language model behind a function: advice only, as it cannot be trusted with control.

    Args:
        ask: sends a prompt; what it raises (a time-out, say) becomes a refusal.
        name: name for tables.
        fingerprint: model and sampling settings.
    """

    def __init__(self, ask: AskFn, *, name: str, fingerprint: str) -> None:
        self._ask = ask
        self.name = name
        self.fingerprint = fingerprint

    def advise(
        self, views: Sequence[StateView], states: Sequence[object], *, nonce: int = 0
    ) -> list[TeacherHint | Refusal]:
        """Return a hint or a refusal per view."""
        return [self._advise(view, nonce) for view in views]

    def act(self, states: Sequence[object]) -> list[str]:
        """Refuse to take over.

        Raises:
            NotImplementedError: always; `advise` is what it can do.
        """
        raise NotImplementedError(f"{self.name} gives hints and cannot take over; use another teacher for L_upper")

    def _advise(self, view: StateView, nonce: int) -> TeacherHint | Refusal:
        prompt = hint_prompt(view)
        try:
            answer = self._ask(prompt, nonce)
        except Exception as error:
            return Refusal(reason=f"no answer: {type(error).__name__}: {str(error)[:_QUOTED_CHARACTERS]}")
        digest = hashlib.sha256(json.dumps([self.fingerprint, prompt, nonce]).encode()).hexdigest()[:16]
        return parse_hint(answer, teacher=self.name, request_hash=digest)


def hint_prompt(view: StateView) -> str:
    """Return the question to a model: the task, the page, every action, and the form of the answer."""
    page = view.observation
    if len(page) > _SHOWN_CHARACTERS:
        page = page[: _SHOWN_CHARACTERS // 2] + "\n...\n" + page[-_SHOWN_CHARACTERS // 2 :]
    actions = "\n".join(f"- {action}" for action in view.actions)
    return (
        f"Task: {view.instruction}\n\nPage:\n{page}\n\nActions that can be taken:\n{actions}\n\n"
        "Which action is best? Answer with one JSON object and nothing else: "
        '{"suggested_action": one of the actions, word for word, "rationale": one sentence, "error_type": '
        '"affordance_miss", "attribute_confusion", "planning_error", "exploration_failure" or "unknown", '
        '"confidence": "low", "medium" or "high"}'
    )


def parse_hint(answer: str, *, teacher: str, request_hash: str = "") -> TeacherHint | Refusal:
    """Read a model's answer: the JSON object in it, with all of its keys."""
    match = re.search(r"\{[^{}]*\}", answer)
    try:
        found = HintAnswer.model_validate_json(match[0] if match else answer)
        return TeacherHint.model_validate(
            {
                "action": found.suggested_action,
                "rationale": found.rationale,
                "error_type": found.error_type,
                "confidence": found.confidence,
                "teacher": teacher,
                "request_hash": request_hash,
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "answer"
        return Refusal(reason=f"{where}: {first['msg']} in {answer[:_QUOTED_CHARACTERS]!r}")
