from __future__ import annotations

from pathlib import Path

import pytest

from sightline.jepa.asking import Answerer, AnswererError, HashedTermsEncoder

TEXT = "account: to gild the lilypad, open account settings"


def test_a_source_that_is_added_is_found_and_one_that_is_removed_is_not(answerer: Answerer):
    assert answerer.add_sources([TEXT], ["account"], ids=["lily"]) == ("lily",)
    assert answerer.ask("gild the lilypad").sources[0].id == "lily"
    answerer.remove_sources(["lily"])
    assert "lily" not in {source.id for source in answerer.ask("gild the lilypad", top_k=1000).sources}


def test_adding_and_removing_leaves_the_answers_of_before(answerer: Answerer):
    before = answerer.ask("how do I alter the address", category="billing")
    answerer.remove_sources(answerer.add_sources([TEXT] * 3, ["account"] * 3))
    assert answerer.ask("how do I alter the address", category="billing") == before


def test_words_are_counted_anew_when_sources_come_and_go(worded: Answerer):
    before = list(worded.sources)
    worded.add_sources([f"{TEXT} ticket5"] * 40, ["account"] * 40)
    worded.remove_sources(before[6:60])
    words, texts = worded.shared_words, list(worded.sources.values())
    assert words is not None
    (expected,) = words.scores(words.index(texts), ["where is ticket5"])
    found = worded.ask("where is ticket5", top_k=len(texts)).sources
    place = {source: number for number, source in enumerate(worded.sources)}
    assert len(found) == len(texts)
    assert max(source.shared_words for source in found) > 0
    assert all(source.shared_words == expected[place[source.id]] for source in found)


def test_changes_are_kept_when_saved(answerer: Answerer, encoder: HashedTermsEncoder, tmp_path: Path):
    answerer.add_sources([TEXT], ["account"])
    gone = answerer.ask("how do I alter the address").sources[0].id
    answerer.remove_sources([gone])
    answerer.save_pretrained(tmp_path)
    again = Answerer.from_pretrained(tmp_path, encoder)
    assert again.sources == answerer.sources
    assert gone not in again.sources
    question = "how do I stop the refund"
    assert again.ask(question) == answerer.ask(question)


def test_known_questions_whose_answer_is_removed_are_forgotten(answerer: Answerer):
    similar = answerer.ask("how do I alter the invoice").similar_questions[0]
    answerer.remove_sources([similar.source])
    for other in answerer.ask("how do I alter the invoice").similar_questions:
        assert other.source in answerer.sources
        assert other.source != similar.source


def test_ids_are_made_up_without_clashes(answerer: Answerer):
    first = answerer.add_sources(["one page", "another page"], ["billing", "billing"])
    answerer.remove_sources(first[:1])
    second = answerer.add_sources(["a third page"], ["billing"])
    assert len({*first, *second}) == 3 or second == first[:1]
    assert set(second) <= set(answerer.sources)


@pytest.mark.parametrize(
    ("texts", "categories", "ids", "said"),
    [
        ([""], ["billing"], None, "source 0 must be a text with something in it"),
        (["a"], ["biling"], None, "did you mean 'billing'"),
        (["a"], [None], None, "every source needs a category"),
        (["a", "b"], ["billing"], None, "categories must be 2"),
        (["a"], ["billing"], ["page-0"], "'page-0' is taken"),
        (["a", "b"], ["billing", "billing"], ["x", "x"], "'x' is taken"),
        (["a"], ["billing"], [" "], "the id of source 0"),
    ],
)
def test_what_cannot_be_added_is_refused_and_changes_nothing(
    answerer: Answerer, texts: list[str], categories: list[str], ids: list[str] | None, said: str
):
    before = answerer.sources
    with pytest.raises(ValueError, match=said):
        answerer.add_sources(texts, categories, ids=ids)
    assert answerer.sources == before


def test_what_cannot_be_removed_is_refused_and_changes_nothing(answerer: Answerer):
    before = answerer.sources
    with pytest.raises(AnswererError, match="no source 'page-00'; did you mean 'page-"):
        answerer.remove_sources(["page-00", "page-1"])
    with pytest.raises(AnswererError, match=r"9 sources and .* known questions would be left"):
        answerer.remove_sources(list(before)[9:])
    with pytest.raises(TypeError, match="takes a list of ids"):
        answerer.remove_sources("page-1")
    with pytest.raises(TypeError, match="takes a list of texts"):
        answerer.add_sources("text", ["billing"])
    assert answerer.sources == before
