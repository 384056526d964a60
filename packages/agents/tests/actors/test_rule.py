from __future__ import annotations

import pytest

from sightline.agents.actors.rule import RuleActor
from sightline.agents.grammar import first_hit
from sightline.agents.prompts import count_tokens, render_prompt


def test_the_rule_sees_what_the_prompt_shows_and_its_choice_is_certain() -> None:
    seen = []

    def rule(task, shown, actions):
        seen.append((task, shown))
        return actions[1]

    prompt = render_prompt("a red lamp", ["one", "two"], memory=["searched lamp"])
    (found,) = RuleActor(rule).score([prompt], [("click[a]", "click[b]")])
    assert seen == [("a red lamp", "memory:\nsearched lamp\npage:\none\n\ntwo")]
    assert found.probabilities == (0.0, 1.0)
    assert found.prompt_tokens == count_tokens(prompt) + 8  # candidates are read too
    assert found.completion_tokens == 4


def test_a_rule_that_makes_things_up_is_refused() -> None:
    with pytest.raises(ValueError, match=r"chose 'x', which is none of"):
        RuleActor(lambda *_: "x").score(["task: a\npage:\naction:"], [("click[a]",)])


def test_first_hit_searches_opens_chooses_and_buys() -> None:
    results = ["click[back to search]", "click[next >]", "click[#1]", "click[#2]"]
    item = ["click[back to search]", "click[< prev]", "click[blue]", "click[red]", "click[buy now]"]
    assert first_hit("a red lamp", "", ["search[red lamp]", "search[lamp]"]) == "search[red lamp]"
    assert first_hit("a red lamp", "", results) == "click[#1]"
    assert first_hit("a red lamp", "", item) == "click[red]"
    assert first_hit("a red lamp", "You have clicked red.", item) == "click[buy now]"
    assert first_hit("a red lamp", "  [clicked button] red [clicked button_]", item) == "click[buy now]"
    assert first_hit("a lamp", "", ["click[back to search]", "click[< prev]"]) == "click[< prev]"
