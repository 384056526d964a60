from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.explaining.decisions import ActionableSignal, Reason
from sightline.jepa.explaining.explanation import ExplainedResult, Explanation, SimilarKnownPair
from sightline.jepa.explaining.page import render_page

HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"'&\u202eevil\x00"


def explanation(**changes: object) -> Explanation:
    values: dict[str, object] = {
        "actionable_signal": ActionableSignal.CHECK,
        "reasons": (Reason.FIRST_RESULT_UNLIKELY, Reason.RESULTS_LIKELY),
        "confidence": 0.62,
        "results_confidence": 0.93,
        "primary_subspace": "ec2",
        "subspace_confidence": 0.88,
        "routing_distribution": {"ec2": 0.7, "ecs": 0.2, "s3": 0.04, "rds": 0.03, "iam": 0.02, "sns": 0.01},
        "routing_entropy": 0.9,
        "has_steering": True,
        "steering_influence": 1.25,
        "rank_change": 3.0,
        "primary_without_steering": "ecs",
        "atypicality": 0.41,
        "results": tuple(
            ExplainedResult(source=source, subspace="ec2", score=0.8 - source / 100, rank_without_steering=source + 7)
            for source in range(10)
        ),
        "similar_known_pairs": (SimilarKnownPair(known=3, source=1, similarity=0.77),),
        "prediction": (1.0, 0.0),
    }
    return Explanation.model_validate(values | changes)


def card(shown: Explanation, text: str = "text", *, steered: bool | None = None, notice: str = "") -> str:
    steered = shown.has_steering if steered is None else steered
    return render_page(
        shown,
        question=f"question {text}",
        steering=f"steering {text}" if steered else None,
        source_text=lambda source: f"source {source} {text}",
        known_text=lambda known: f"known {known} {text}",
        notice=notice,
    )


class Page(HTMLParser):
    """Collects tags, attributes and texts, and checks that tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_card_shows_the_decision_and_what_it_rests_on():
    page = Page(card(explanation()))
    assert not page.open
    for shown in (
        "Look through the results",
        "not certain enough to be used unseen",
        "62 %",
        "93 %",
        "source 0 text",
        "known 3 text",
        "from “ecs” to “ec2”",
        "1.25 nats",
        "by a factor of 8.0",
        "41 % of the predictions",
        "1 others",
    ):
        assert shown in " ".join(page.text.split())


@pytest.mark.parametrize("signal", ActionableSignal)
def test_every_signal_has_its_sentence(signal: ActionableSignal):
    html = card(explanation(actionable_signal=signal))
    assert f'<div class="signal {signal.value}">' in html


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_of_its_own(reason: Reason):
    without, with_reason = (card(explanation(reasons=reasons)) for reasons in ((), (reason,)))
    assert with_reason.count("<li>") == without.count("<li>") + 1


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=300))
def test_no_text_becomes_markup(text: str):
    harmless, page = Page(card(explanation())), Page(card(explanation(), text))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in harmless.tags]
    assert all(
        set(attributes) == set(expected)
        for (_, attributes), (_, expected) in zip(page.tags, harmless.tags, strict=True)
    )


def test_hostile_names_questions_and_sources_are_shown_as_text():
    routing = {HOSTILE: 0.9, "other": 0.1}
    shown = explanation(
        routing_distribution=routing,
        primary_subspace=HOSTILE,
        primary_without_steering=HOSTILE,
        results=(ExplainedResult(source=0, subspace=HOSTILE, score=0.5, rank_without_steering=1),) * 10,
    )
    html = card(shown, HOSTILE)
    page = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "\u202e" not in html
    assert "\x00" not in html
    assert "<script>alert(1)</script>" in page.text


def test_a_card_loads_nothing_and_runs_nothing():
    page = Page(card(explanation()))
    policy = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in page.tags}


@pytest.mark.parametrize(("weight", "probability", "told"), [(0.88, 0.31, True), (0.31, 0.88, True), (0.7, 0.6, False)])
def test_a_card_says_why_a_weight_and_a_probability_differ(weight: float, probability: float, told: bool):
    shown = explanation(
        routing_distribution={"ec2": weight, "ecs": 1 - weight} if weight > 0.5 else {"ec2": weight, "ecs": 0.3},
        subspace_confidence=probability,
    )
    text = " ".join(Page(card(shown)).text.split())
    said = f"It put {100 * weight:.0f} % on “ec2”; of validation questions like this one, {100 * probability:.0f} % had"
    assert (said in text) is told


def test_no_sentence_asks_for_an_area_that_was_given():
    given = card(explanation(reasons=(Reason.SUBSPACE_UNCERTAIN,)))
    assert "Ask which area" not in given
    assert "none was given" in card(explanation(actionable_signal=ActionableSignal.ASK, has_steering=False))


def test_a_notice_stands_above_everything_else_and_only_where_there_is_one():
    page = card(explanation(), notice="a <b>trial</b>")
    assert page.index("a &lt;b&gt;trial&lt;/b&gt;") < page.index("<h1>")
    assert page.replace("<p><strong>a &lt;b&gt;trial&lt;/b&gt;</strong></p>\n", "") == card(explanation())


def test_a_huge_text_is_cut():
    assert len(card(explanation(), "word " * 1_000_000)) < 20_000


def test_without_steering_there_is_no_unsteered_rank():
    shown = explanation(has_steering=False, reasons=(Reason.STEERING_MISSING,))
    html = card(shown)
    assert "unsteered" not in html
    assert "No steering was given." in html


@pytest.mark.parametrize("steered", [False, True])
def test_a_card_cannot_contradict_its_explanation_about_steering(steered: bool):
    with pytest.raises(ValueError, match="the explanation was made"):
        card(explanation(has_steering=not steered), steered=steered)


@pytest.mark.parametrize(("share", "shown"), [(0.0, "0 %"), (0.004, "under 1 %"), (0.995, "over 99 %"), (1.0, "100 %")])
def test_no_probability_is_rounded_to_certainty(share: float, shown: str):
    assert f'<td class="number">{shown}</td>' in card(explanation(confidence=share, results_confidence=0.5))
