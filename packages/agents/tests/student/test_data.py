from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.agents.grammar import webshop_grammar
from sightline.agents.grammar.webshop import abbreviate_products
from sightline.agents.prompts import react_prompt
from sightline.agents.reading.types import ChunkScorer
from sightline.agents.records import Event, Situation
from sightline.agents.student.config import StudentDataConfig
from sightline.agents.student.data import sample_chunks, student_examples, value_targets
from sightline.agents.student.tips import Tip

INSTRUCTION = "find me a red chair"
PINNED = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [3], [4], [0, 1, 2, 3, 4, 5], [3], [3], [3]]
IDENTIFIERS = [f"B0AAAAAAA{number}" for number in range(6)]
PAGE = f"Instruction:\n{INSTRUCTION}\n[button] Back to Search [button_]\n\n" + "\n\n".join(
    f"[button] {identifier} [button_]\nthing {number}\n$1.0" for number, identifier in enumerate(IDENTIFIERS)
)
SITUATION = Situation(
    INSTRUCTION,
    (Event("OBS", "WebShop\nInstruction: \nfind me a red chair"), Event("ACT", "search[chair]"), Event("OBS", PAGE)),
    tuple(f"click[{identifier.lower()}]" for identifier in IDENTIFIERS),
)
TARGET = "click[b0aaaaaaa3]"


def examples(config: StudentDataConfig, *, seed: int = 0, scorers: Sequence[ChunkScorer] = ()) -> list[tuple[str, str]]:
    found = student_examples([(SITUATION, TARGET)], webshop_grammar, config, np.random.default_rng(seed), scorers)
    return [(example.prompt, example.actions[example.chosen]) for example in found]


def shown(prompt: str) -> list[int]:
    return [int(number) for number in re.findall(r"^thing (\d)$", prompt, re.MULTILINE)]


def test_whole_page_views_read_as_the_react_agent_reads() -> None:
    config = StudentDataConfig(views=1, full_page_share=1, history_turns=2, history_characters=50)
    ((prompt, _),) = examples(config)
    (expected,) = abbreviate_products(PAGE, [react_prompt(SITUATION, webshop_grammar, turns=2, max_characters=50)])
    assert prompt == expected
    assert shown(prompt) == [0, 1, 2, 3, 4, 5]
    assert "search[chair]" in prompt


def test_the_action_names_the_product_by_the_label_that_the_prompt_shows() -> None:
    for prompt, action in examples(StudentDataConfig(views=30, full_page_share=0.5, target_share=1)):
        assert action == "click[#4]"
        assert "[button] #4 [button_]\nthing 3\n" in prompt


def test_chunk_views_show_one_to_so_many_chunks_without_history() -> None:
    counts = set()
    for prompt, _ in examples(StudentDataConfig(views=60, full_page_share=0, max_chunks=3, target_share=1)):
        numbers = shown(prompt)
        header = "Back to Search" in prompt
        assert 3 in numbers
        assert "before:" not in prompt
        counts.add(len(numbers) + header)
    assert counts == {1, 2, 3}


def test_without_forcing_the_target_some_views_lack_it() -> None:
    prompts = examples(StudentDataConfig(views=60, full_page_share=0, max_chunks=3, target_share=0))
    assert 0 < sum(3 in shown(prompt) for prompt, _ in prompts) < 60


def scorer_of(*words: str) -> ChunkScorer:
    """Scores chunks by which of the words they hold; the first word weighs most."""

    def score(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[np.ndarray]:
        assert situations == [SITUATION]
        return [
            np.array([sum((word in chunk) / (1 + rank) for rank, word in enumerate(words)) for chunk in page])
            for page in chunks
        ]

    return score


def test_ranked_views_take_the_chunks_that_a_scorer_puts_first() -> None:
    config = StudentDataConfig(views=20, full_page_share=0, ranked_share=1, target_share=0, max_chunks=2)
    found = examples(config, scorers=[scorer_of("thing 5", "thing 1")])
    assert {tuple(shown(prompt)) for prompt, _ in found} == {(5,), (5, 1)}


def test_every_scorer_has_its_views() -> None:
    config = StudentDataConfig(views=30, full_page_share=0, ranked_share=1, target_share=0, max_chunks=1)
    found = examples(config, scorers=[scorer_of("thing 5"), scorer_of("thing 2")])
    assert {tuple(shown(prompt)) for prompt, _ in found} == {(5,), (2,)}


def test_the_same_seed_gives_the_same_examples() -> None:
    config = StudentDataConfig(views=5)
    assert examples(config, seed=3) == examples(config, seed=3)
    assert examples(config, seed=3) != examples(config, seed=4)


@given(
    st.integers(1, 12),
    st.sets(st.integers(0, 11)),
    st.integers(1, 15),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_sampled_chunks_are_distinct_best_first_and_hold_a_positive_when_told_to(
    total: int, marked: set[int], count: int, ranked: bool, include: bool, seed: int
) -> None:
    positives = sorted(index for index in marked if index < total)
    rng = np.random.default_rng(seed)
    scores = rng.random(total) if ranked else None
    indices = sample_chunks(["chunk"] * total, positives, count=count, scores=scores, include_positive=include, rng=rng)
    assert len(indices) == len(set(indices))
    if scores is not None:
        best = sorted(range(total), key=lambda index: -scores[index])[:count]
        missing = include and bool(positives) and not set(positives) & set(best)
        assert indices[:-1] == best[:-1]
        assert indices[-1] in positives if missing else indices[-1] == best[-1]
    assert len(indices) == min(count, total)
    assert all(0 <= index < total for index in indices)
    if include and positives:
        assert set(indices) & set(positives)


def test_a_page_without_chunks_still_gives_an_example() -> None:
    empty = Situation("x", (Event("OBS", ""),), ("search[x]",))
    found = student_examples(
        [(empty, "search[x]")],
        webshop_grammar,
        StudentDataConfig(full_page_share=0, ranked_share=1),
        np.random.default_rng(0),
        [lambda _, chunks: [np.zeros(len(page)) for page in chunks]],
    )
    assert found[0].prompt == "task: x\npage:\n\naction:"


def test_the_examples_of_a_seed_are_pinned() -> None:
    config = StudentDataConfig(views=8, max_chunks=2, history_turns=1, history_characters=9, ranked_share=0.5)
    found = examples(config, seed=3, scorers=[scorer_of("thing 5")])
    assert [shown(prompt) for prompt, _ in found] == PINNED
    assert [("before:" in prompt) for prompt, _ in found] == [len(numbers) == 6 for numbers in PINNED]


def test_all_of_a_share_of_one_and_none_of_a_share_of_zero() -> None:
    for share, whole in ((1, {True}), (0, {False})):
        found = examples(StudentDataConfig(views=12, full_page_share=share, max_chunks=2))
        assert {len(shown(prompt)) == 6 for prompt, _ in found} == whole


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="max_chnks"):
        StudentDataConfig.model_validate({"max_chnks": 3})


def tip_of(situation: Situation, action: str, rng: np.random.Generator) -> Tip:
    """Half of the tips name an action at random, the others say nothing."""
    named = situation.actions[int(rng.integers(len(situation.actions)))]
    return Tip(f"take {named}", named) if rng.random() < 0.5 else Tip("look at the page")


def test_a_tip_that_names_an_action_makes_it_the_one_to_learn_and_others_keep_the_student() -> None:
    config = StudentDataConfig(views=60, full_page_share=1, history_turns=0, tip_share=0.6)
    own = tuple(np.full(6, 1 / 6).tolist())
    found = student_examples(
        [(SITUATION, TARGET)], webshop_grammar, config, np.random.default_rng(0), tips=tip_of, own=[own]
    )
    named = 0
    for example in found:
        (tip,) = re.findall(r"^tip: (.*)$", example.prompt, re.MULTILINE) or [None]
        if tip is None or tip == "look at the page":
            assert (example.target, example.actions[example.chosen]) == (own, "click[#4]")
        else:
            named += 1
            assert tip == f"take {example.actions[example.chosen]}"
            assert example.target is None
    assert 8 <= named <= 28
    assert len({example.chosen for example in found}) == 6


def test_tips_are_made_by_somebody_or_not_wanted() -> None:
    with pytest.raises(ValueError, match="need the argument `tips`"):
        examples(StudentDataConfig(tip_share=0.1))


def test_equally_good_actions_are_equally_right_and_worse_ones_the_less_the_worse_they_are() -> None:
    one = replace(SITUATION, values=(0.0, 0.9, 0.9, 0.899, 0.5, 0.0))
    (target,) = value_targets([one], temperature=0.001)
    assert target[1] == target[2] == pytest.approx(target[3] * np.e)
    assert sum(target) == pytest.approx(1)
    assert max(target[0], target[4], target[5]) < 1e-9
    with pytest.raises(ValueError, match="collect the demonstrations with `values`"):
        value_targets([SITUATION], temperature=1.0)


def test_of_equally_good_actions_the_preferred_one_is_learnt_and_no_other_takes_its_share() -> None:
    one = replace(SITUATION, values=(0.0, 0.9, 0.9, 0.899, 0.5, 0.0))
    (spread,) = value_targets([one], temperature=0.001)
    (target,) = value_targets([one], temperature=0.001, preferred=[one.actions[2]])
    assert target == pytest.approx((spread[0], 0.0, spread[1] + spread[2], *spread[3:]))
    worse = value_targets([one, one], temperature=0.001, preferred=[one.actions[3], "click[nowhere]"])
    assert worse == [spread, spread]


def test_prompts_can_remember_in_place_of_earlier_turns() -> None:
    for share in (0, 1):
        config = StudentDataConfig(views=4, full_page_share=share, history="memory")
        for prompt, _ in examples(config):
            assert "before:" not in prompt
            assert ("memory:" in prompt) == bool(webshop_grammar.memory(SITUATION.events, SITUATION.instruction))
