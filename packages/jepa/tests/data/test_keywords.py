from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.data.keywords import typed_keywords

QUESTIONS = tuple(f"how is the {colour} {thing} replaced" for colour in ("amber", "violet") for thing in "abcdefghij")
DESCRIPTIONS = ("Kettles. They boil water quickly.", "Bicycles. They have pedals and saddles.")
CATEGORY = np.arange(len(QUESTIONS), dtype=np.int64) % 2


def test_terms_are_of_the_question_of_its_area_or_of_another_and_some_are_mistyped():
    many = tuple(f"replace the amber valve {number}" for number in range(2000))
    category = np.zeros(len(many), dtype=np.int64)
    typed = [text.split() for text in typed_keywords(many, category, DESCRIPTIONS)]
    terms = [word for words in typed for word in words]
    own, note, other = {"replace", "amber", "valve"}, {"kettles", "boil", "water", "quickly"}, {"bicycles", "pedals"}
    share = {name: np.mean([word in pool for word in terms]) for name, pool in [("own", own), ("note", note)]}
    assert 0.35 < share["own"] < 0.55
    assert 0.2 < share["note"] < 0.4
    assert other & set(terms)
    assert 0.07 < np.mean([not words for words in typed]) < 0.13
    assert max(len(words) for words in typed) == 3
    mistyped = [word for word in terms if word not in own | note | other | {"saddles"}]
    assert 0.07 < len(mistyped) / len(terms) < 0.13
    known = {"".join(sorted(word)) for word in own | note | other | {"saddles"}}
    assert {"".join(sorted(word)) for word in mistyped} <= known


def test_many_strings_stand_for_one_category():
    typed = typed_keywords(
        tuple(f"ask the {word}ing" for word in "abcdefgh"), np.zeros(8, dtype=np.int64), DESCRIPTIONS
    )
    assert len(set(typed)) > 4


def test_a_question_without_category_gets_terms_of_its_own_alone():
    typed = typed_keywords(QUESTIONS, np.full(len(QUESTIONS), -1, dtype=np.int64), DESCRIPTIONS)
    letters = {"".join(sorted(word)) for question in QUESTIONS for word in question.split()}
    assert {"".join(sorted(word)) for text in typed for word in text.split()} <= letters


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(len(QUESTIONS))), st.integers(0, 3))
def test_what_is_typed_does_not_depend_on_the_other_questions(order: list[int], seed: int):
    whole = typed_keywords(QUESTIONS, CATEGORY, DESCRIPTIONS, seed=seed)
    part = typed_keywords([QUESTIONS[row] for row in order], CATEGORY[order], DESCRIPTIONS, seed=seed)
    assert part == tuple(whole[row] for row in order)
    assert whole != typed_keywords(QUESTIONS, CATEGORY, DESCRIPTIONS, seed=seed + 1)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from([-1, 0]))
def test_any_text_will_do(question: str, description: str, category: int):
    (typed,) = typed_keywords([question], np.array([category]), [description])
    assert typed == " ".join(typed.split())
