from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from sightline.agents.actors.lexical import LexicalActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.grammar.webshop import abbreviate_products
from sightline.agents.protocols import Actor
from sightline.agents.reading.agent import ReadingAgent, baseline_rag, baseline_react, recurrent_state_gated
from sightline.agents.reading.bounds import oracle_gated, random_gated
from sightline.agents.reading.conditions import condition_dimension
from sightline.agents.reading.pages import page_chunks
from sightline.agents.reading.types import QueryFrom, Reading
from sightline.agents.records import ActionDistribution, Event, Situation
from sightline.agents.state.config import StateModelConfig
from sightline.agents.state.model import RecurrentStateModel
from sightline.retrieval import ChunkingConfig, HashingEncoder, StateConditionedRetriever

CHUNKING = ChunkingConfig(max_characters=200, min_characters=5)
ENCODER = HashingEncoder(64)
TASK = "find a blue lamp made of glass"
PRODUCTS = ("red wool scarf", "blue glass lamp", "green lamp of glass", "oak desk", "blue cotton sheet", "steel kettle")


def page(products: Sequence[str] = PRODUCTS, *, task: str = TASK) -> str:
    blocks = [f"[button] b{number:09} [button_]\n{product}" for number, product in enumerate(products)]
    return "\n\n".join([f"Instruction:\n{task}\n[button] Back to Search [button_]", *blocks])


def situation(*, target: int = 1, turns: int = 0, products: Sequence[str] = PRODUCTS, task: str = TASK) -> Situation:
    before = [
        event
        for turn in range(turns)
        for event in (Event("OBS", f"Instruction:\n{task}\nan old page {turn}"), Event("ACT", f"click[old {turn}]"))
    ]
    actions = ("click[back to search]", *(f"click[b{number:09}]" for number in range(len(products))))
    return Situation(task, (*before, Event("OBS", page(products, task=task))), actions, f"click[b{target:09}]")


class RecordingActor:
    """Finds all actions equally likely and remembers the prompts."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
        self.prompts += prompts
        return [ActionDistribution((1 / len(options),) * len(options), 7, 3) for options in actions]


@pytest.fixture(scope="module")
def state_model() -> RecurrentStateModel:
    torch.manual_seed(0)
    return RecurrentStateModel(
        StateModelConfig(text_dimension=64, event_dimension=16, state_dimension=12, action_types=("search", "open"))
    )


def gated(actor: Actor, state_model: RecurrentStateModel, query_from: QueryFrom = "state", k: int = 2) -> ReadingAgent:
    retriever = StateConditionedRetriever(condition_dimension(query_from, 12, 64), 64)
    return recurrent_state_gated(
        actor,
        ENCODER,
        state_model,
        retriever,
        webshop_grammar,
        name="recurrent_state_gated_zero_shot",
        query_from=query_from,
        top_k=k,
        chunking=CHUNKING,
    )


AGENTS: dict[str, Callable[..., ReadingAgent]] = {
    "baseline_react": lambda actor, _: baseline_react(actor, webshop_grammar, history_turns=2, history_characters=100),
    "baseline_rag": lambda actor, _: baseline_rag(actor, ENCODER, webshop_grammar, top_k=2, chunking=CHUNKING),
    "recurrent_state_gated_zero_shot": gated,
    "oracle_gated": lambda actor, _: oracle_gated(actor, ENCODER, webshop_grammar, top_k=2, chunking=CHUNKING),
    "random_gated": lambda actor, _: random_gated(actor, webshop_grammar, seed=0, top_k=2, chunking=CHUNKING),
}
GATED = [name for name in AGENTS if name != "baseline_react"]
SITUATIONS = [
    situation(),
    situation(turns=3, target=4),
    situation(products=PRODUCTS[:1], target=0),
    situation(products=PRODUCTS * 3, turns=1, target=9, task="a green kettle"),
    Situation("a desk", (Event("OBS", "Instruction:\na desk\n"),), ("search[desk]",), "search[desk]"),
]


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_bears_its_name(name: str, state_model: RecurrentStateModel) -> None:
    assert AGENTS[name](LexicalActor(webshop_grammar), state_model).name == name


@pytest.mark.parametrize("name", AGENTS)
def test_the_batch_changes_no_decision(name: str, state_model: RecurrentStateModel) -> None:
    agent = AGENTS[name](LexicalActor(webshop_grammar), state_model)
    together = agent.choose(SITUATIONS)
    alone = [agent.choose([one])[0] for one in SITUATIONS]
    backwards = agent.choose(SITUATIONS[::-1])[::-1]
    for decisions in (alone, backwards):
        for first, second in zip(together, decisions, strict=True):
            assert first.action == second.action
            assert first.probabilities == second.probabilities
            assert [chunk.selected for chunk in first.attention] == [chunk.selected for chunk in second.attention]
            scores = [[chunk.score for chunk in decision.attention] for decision in (first, second)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-5)


@pytest.mark.parametrize("name", GATED)
def test_a_gated_agent_reads_the_instruction_and_the_selected_chunks_only(
    name: str, state_model: RecurrentStateModel
) -> None:
    actor = RecordingActor()
    (decision,) = AGENTS[name](actor, state_model).choose([situation(turns=2)])
    (prompt,) = actor.prompts
    for text in abbreviate_products(page(), (TASK, *(chunk.text for chunk in decision.attention if chunk.selected))):
        assert prompt.count(text) == 1
        prompt = prompt.replace(text, "")
    assert set(prompt.split()) <= {"task:", "page:", "...", "action:"}


@pytest.mark.parametrize("name", GATED)
def test_attention_holds_every_chunk_of_the_page_and_selects_the_best(
    name: str, state_model: RecurrentStateModel
) -> None:
    actor = RecordingActor()
    (decision,) = AGENTS[name](actor, state_model).choose([situation()])
    assert tuple(chunk.text for chunk in decision.attention) == page_chunks(page(), TASK, webshop_grammar, CHUNKING)
    chosen = [chunk.score for chunk in decision.attention if chunk.selected]
    assert len(chosen) == 2
    assert min(chosen) >= max(chunk.score for chunk in decision.attention if not chunk.selected)


@pytest.mark.parametrize("name", GATED)
def test_chunks_are_shown_best_first(name: str, state_model: RecurrentStateModel) -> None:
    actor = RecordingActor()
    (decision,) = AGENTS[name](actor, state_model).choose([situation()])
    best = sorted((chunk for chunk in decision.attention if chunk.selected), key=lambda chunk: -chunk.score)
    shown = abbreviate_products(page(), [chunk.text for chunk in best])
    places = [actor.prompts[0].index(text) for text in shown]
    assert places == sorted(places)


def test_with_gated_candidates_only_what_is_shown_can_be_acted_on_and_navigation() -> None:
    actor = RecordingActor()
    agent = baseline_rag(actor, ENCODER, webshop_grammar, top_k=2, chunking=CHUNKING)
    (decision,) = replace(agent, gate_candidates=True).choose([situation()])
    shown = [chunk.text for chunk in decision.attention if chunk.selected]
    for action, probability in zip(situation().actions, decision.probabilities, strict=True):
        number = action[len("click[") : -1]
        assert (probability > 0) == (action == "click[back to search]" or any(number in text for text in shown))


def test_react_reads_the_whole_page_and_the_latest_turns() -> None:
    actor = RecordingActor()
    AGENTS["baseline_react"](actor, None).choose([situation(turns=3)])
    (prompt,) = actor.prompts
    assert all(product in prompt for product in PRODUCTS)
    assert "click[old 1]" in prompt
    assert "an old page 2" in prompt
    assert "click[old 0]" not in prompt
    assert prompt.count(TASK) == 1


def test_the_most_probable_action_is_taken_and_ties_go_to_the_first() -> None:
    class Fixed:
        def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
            return [ActionDistribution((0.2, 0.4, 0.4), 5, 2) for _ in prompts]

    one = Situation(TASK, (Event("OBS", "page"),), ("click[a]", "click[b]", "click[c]"))
    (decision,) = baseline_react(Fixed(), webshop_grammar, history_turns=0, history_characters=10).choose([one])
    assert decision.action == "click[b]"
    assert (decision.prompt_tokens, decision.completion_tokens) == (5, 2)


def test_an_action_is_not_repeated_on_a_page_that_looks_the_same_while_others_are_left() -> None:
    class Fixed:
        def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
            weights = {"click[a]": 0.7, "click[b]": 0.2, "click[c]": 0.1}
            return [ActionDistribution(tuple(weights[action] for action in offered), 5, 2) for offered in actions]

    def next_action(*before: tuple[str, str]) -> str:
        past = [event for page, action in before for event in (Event("OBS", page), Event("ACT", action))]
        now = Situation(TASK, (*past, Event("OBS", "page")), ("click[a]", "click[b]", "click[c]"))
        (decision,) = baseline_react(Fixed(), webshop_grammar, history_turns=0, history_characters=10).choose([now])
        return decision.action

    assert next_action(("other page", "click[a]")) == "click[a]"
    assert next_action(("page", "click[a]"), ("other page", "click[x]")) == "click[b]"
    assert next_action(("page", "click[a]"), ("page", "click[c]"), ("page", "click[b]")) == "click[a]"


def test_an_actor_that_is_certain_chooses_among_the_untried_actions_alone() -> None:
    class CertainOfTheLast:
        def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
            return [ActionDistribution((0.0,) * (len(offered) - 1) + (1.0,), 5, 2) for offered in actions]

    now = Situation(
        TASK,
        (Event("OBS", "page"), Event("ACT", "click[d]"), Event("OBS", "page")),
        ("click[a]", "click[b]", "click[c]", "click[d]"),
    )
    (decision,) = baseline_react(CertainOfTheLast(), webshop_grammar, history_turns=0, history_characters=10).choose(
        [now]
    )
    assert decision.action == "click[c]"
    assert decision.probabilities == (0.0, 0.0, 1.0, 0.0)


def test_an_actors_error_on_one_prompt_is_that_decisions_error_and_chooses_no_action() -> None:
    class FailsOnTheSecond:
        def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
            return [ActionDistribution((0.4, 0.6), 5, 2), ActionDistribution((), 9, 3, error="ParseFailure: no number")]

    one = Situation(TASK, (Event("OBS", "page"),), ("click[a]", "click[b]"))
    good, bad = baseline_react(FailsOnTheSecond(), webshop_grammar, history_turns=0, history_characters=10).choose(
        [one, one]
    )
    assert (good.action, good.error) == ("click[b]", None)
    assert (bad.action, bad.probabilities, bad.error) == ("", (), "ParseFailure: no number")
    assert (bad.prompt_tokens, bad.completion_tokens) == (9, 3)


def test_an_agent_that_may_repeat_itself_answers_equal_prompts_equally() -> None:
    def full(situations: Sequence[Situation]) -> list[Reading]:
        return [Reading((one.observation,)) for one in situations]

    first = situation()
    again = Situation(TASK, (*first.events, Event("ACT", first.actions[0]), *first.events), first.actions)
    free = ReadingAgent("free", RecordingActor(), full, webshop_grammar, avoid_repeats=False)
    careful = ReadingAgent("careful", RecordingActor(), full, webshop_grammar)
    decisions = free.choose([first, again])
    assert decisions[0] == decisions[1]
    assert decisions[0].action == first.actions[0]
    assert careful.choose([again])[0].action == first.actions[1]


def test_a_decision_says_that_its_page_was_come_to_in_a_loop_of_two_pages() -> None:
    products, pages = situation().observation, ("one", "two", "three")
    agent = baseline_react(RecordingActor(), webshop_grammar, history_turns=0, history_characters=0)
    events: tuple[Event, ...] = ()
    flags = []
    for name in pages:
        events += (Event("OBS", products), Event("ACT", f"click[{name}]"))
        flags.append(agent.choose([Situation(TASK, events[:-1], situation().actions)])[0].in_loop)
        events += (Event("OBS", name), Event("ACT", "click[< prev]"))
    assert flags == [False, False, True]
