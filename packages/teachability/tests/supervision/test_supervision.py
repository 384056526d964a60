from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.teachability.labels.patches import KINDS
from sightline.teachability.records import Bound, LabelledSnapshot, Refusal, Snapshot, TeacherHint
from sightline.teachability.supervision import (
    PatchTemplates,
    PromptedTeacher,
    check_hint,
    choose_route,
    grade_hint,
    parse_hint,
    placebo,
    render_patch,
)
from sightline.teachability.supervision.formats import insight
from sightline.teachability.views import StateView

VIEW = StateView("buy a mug", "a page", ("click[Mug]", "click[buy now]"))
GOOD = {"suggested_action": "click[Mug]", "rationale": "it is one", "error_type": "unknown", "confidence": "high"}


def snapshot(observation: str = "a page with a mug") -> Snapshot:
    return Snapshot(
        id="0" * 16,
        task=0,
        group="g",
        trajectory_id="t",
        step=0,
        state="",
        instruction="buy a mug",
        observation=observation,
        actions=VIEW.actions,
        taken="click[buy now]",
        reward_at_end=0.0,
        outcome="failure",
        mined_by="uniform",
        before_end=1,
    )


@given(st.text(max_size=3000), st.text(max_size=600))
def test_a_patch_is_one_bounded_line_whatever_page_and_teacher_say(observation, rationale):
    hint = TeacherHint(action="click[Mug]", rationale=rationale)
    for kind in KINDS:
        text = render_patch(kind, snapshot(observation), hint, PatchTemplates(), paraphrase=1)
        assert text
        assert len(text) <= 400
        assert len(text.splitlines()) <= 1


@given(st.text(max_size=200))
def test_an_insight_never_names_the_action_or_its_target(rationale):
    text = insight(TeacherHint(action="click[Mug]", rationale=rationale)).casefold()
    assert "click[mug]" not in text
    assert "mug" not in text


def test_an_insight_is_what_comes_after_because():
    assert insight(TeacherHint(action="click[x1]", rationale="do it because the price fits")) == "the price fits"


def test_a_placebo_has_the_length_of_the_formats_and_says_nothing_of_the_page():
    hint = TeacherHint(action="click[Mug]", rationale="it is what the task asks for")
    for paraphrase in (0, 1):
        texts = [render_patch(kind, snapshot(), hint, PatchTemplates(), paraphrase=paraphrase) for kind in KINDS[:3]]
        found = render_patch("placebo", snapshot(), hint, PatchTemplates(), paraphrase=paraphrase)
        assert abs(len(found.split()) - sum(len(t.split()) for t in texts) / 3) <= 0.5
        assert "mug" not in found.casefold()
    assert placebo(3) != placebo(3, paraphrase=1)


def test_templates_with_unknown_fields_or_an_odd_number_of_wordings_are_refused():
    with pytest.raises(ValidationError, match="asks for"):
        PatchTemplates(demo=("{answer}", "{action}"))
    with pytest.raises(ValidationError, match="even number"):
        PatchTemplates(demo=("a", "b", "c"))


def test_hints_must_be_candidates_letter_case_aside():
    found = check_hint(TeacherHint(action="CLICK[mug]"), VIEW)
    assert isinstance(found, TeacherHint)
    assert found.action == "click[Mug]"
    refusal = check_hint(TeacherHint(action="search[mug]"), VIEW)
    assert isinstance(refusal, Refusal)
    assert "'search[mug]', which is none of the 2 actions" in refusal.reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I would click the mug.", "Invalid JSON"),
        (json.dumps({"suggested_action": "click[Mug]"}), "rationale"),
        (json.dumps(GOOD | {"error_type": "laziness"}), "error_type"),
        (json.dumps(GOOD | {"why": 1}), "why"),
    ],
)
def test_an_answer_that_is_no_hint_is_a_refusal_with_its_reason(answer, reason):
    found = parse_hint(answer, teacher="t")
    assert isinstance(found, Refusal)
    assert reason in found.reason


def test_a_hint_is_found_among_other_words():
    found = parse_hint(f"Sure!\n```json\n{json.dumps(GOOD)}\n```", teacher="t", request_hash="h")
    assert isinstance(found, TeacherHint)
    assert (found.action, found.teacher, found.request_hash) == ("click[Mug]", "t", "h")


def test_a_prompted_teacher_turns_time_outs_into_refusals_and_passes_the_nonce():
    def ask(prompt, nonce):
        if nonce == 0:
            raise TimeoutError("too slow")
        assert "click[buy now]" in prompt
        return json.dumps(GOOD)

    teacher = PromptedTeacher(ask, name="m", fingerprint="m at 0")
    (first,) = teacher.advise([VIEW], [None])
    (second,) = teacher.advise([VIEW], [None], nonce=1)
    assert first == Refusal(reason="no answer: TimeoutError: too slow")
    assert isinstance(second, TeacherHint)
    assert second.action == "click[Mug]"
    with pytest.raises(NotImplementedError, match="cannot take over"):
        teacher.act([None])


def bound(low, high):
    return Bound(low=low, high=high, estimate=low, method="graph")


@pytest.mark.parametrize(
    ("value", "taught", "grade"),
    [((0.1, 0.2), (0.22, 0.3), "improves"), ((0.1, 0.2), (0.2, 0.3), "neutral"), ((0.3, 0.4), (0.1, 0.27), "harmful")],
)
def test_grades_need_certainty(value, taught, grade):
    assert grade_hint(bound(*value), bound(*taught)) == grade


def test_routes_follow_their_rule_and_say_what_is_missing():
    bare = LabelledSnapshot(snapshot=snapshot())
    assert choose_route(bare, "hint") == "hint"
    assert choose_route(bare.model_copy(update={"quadrant": "Q4"}), "quadrant") == "contrast"
    with pytest.raises(ValueError, match="no quadrant"):
        choose_route(bare, "quadrant")
    with pytest.raises(ValueError, match="no patch gains"):
        choose_route(bare, "gain")
