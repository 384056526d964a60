from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading.bounds import expert_target, random_scores
from sightline.agents.reading.examples import example_situation, retrieval_examples, score_pages
from sightline.agents.reading.pages import page_chunks
from sightline.agents.reading.scorers import instruction_similarity
from sightline.agents.records import Situation
from sightline.agents.trajectory import Step, Trajectory
from sightline.retrieval import ChunkingConfig, HashingEncoder, recall_at_k

CHUNKING = ChunkingConfig(max_characters=100, min_characters=5)
TASK = "a blue lamp"
HOME = f"WebShop\nInstruction:\n{TASK}\n[button] Search [button_]"
RESULTS = f"Instruction:\n{TASK}\n[button] Back to Search [button_]\n\n" + "\n\n".join(
    f"[button] B{number:09} [button_]\n{color} lamp" for number, color in enumerate(("red", "blue", "green"))
)


def step(observation: str, action: str, expert_action: str | None) -> Step:
    actions = tuple(dict.fromkeys(filter(None, (action, expert_action))))
    return Step(
        observation=observation, available_actions=actions, action=action, expert_action=expert_action, reward=0.0
    )


@pytest.fixture
def trajectory() -> Trajectory:
    steps = (
        step(HOME, "search[blue lamp]", "search[blue lamp]"),
        step(RESULTS, "click[b000000002]", "click[b000000001]"),
        step(RESULTS, "click[b000000000]", None),
        step(RESULTS, "click[nowhere]", "click[nowhere]"),
    )
    return Trajectory(
        episode_id="one",
        goal=0,
        agent="expert",
        seed=0,
        instruction=TASK,
        steps=steps,
        final_observation="",
        total_reward=0.0,
        terminated=False,
        truncated=True,
    )


def test_clicks_whose_target_is_on_the_page_become_examples(trajectory: Trajectory) -> None:
    assert [example.t for example in retrieval_examples([trajectory], webshop_grammar, CHUNKING)] == [1, 2]


def test_the_label_is_the_experts_click_or_else_the_click_taken(trajectory: Trajectory) -> None:
    asked, not_asked = retrieval_examples([trajectory], webshop_grammar, CHUNKING)
    assert ["blue lamp" in asked.chunks[index] for index in asked.pos_idx] == [True]
    assert ["red lamp" in not_asked.chunks[index] for index in not_asked.pos_idx] == [True]


def test_every_other_chunk_is_a_negative(trajectory: Trajectory) -> None:
    for example in retrieval_examples([trajectory], webshop_grammar, CHUNKING):
        assert sorted((*example.pos_idx, *example.neg_idx)) == list(range(len(example.chunks)))


def test_events_end_with_the_page_and_hold_what_was_done(trajectory: Trajectory) -> None:
    example = retrieval_examples([trajectory], webshop_grammar, CHUNKING)[1]
    assert [text for _, text in example.events] == [HOME, "search[blue lamp]", RESULTS, "click[b000000002]", RESULTS]


def test_an_example_gives_back_its_situation(trajectory: Trajectory) -> None:
    example = retrieval_examples([trajectory], webshop_grammar, CHUNKING)[0]
    original = list(trajectory.situations())[1][0]
    restored = example_situation(example)
    assert (restored.instruction, restored.events) == (original.instruction, original.events)
    assert restored.expert_action == original.expert_action


def test_examples_hold_the_chunks_that_an_agent_sees(trajectory: Trajectory) -> None:
    example = retrieval_examples([trajectory], webshop_grammar, CHUNKING)[0]
    seen = example_situation(example)
    assert example.chunks == page_chunks(seen.observation, seen.instruction, webshop_grammar, CHUNKING)


def test_the_oracle_recalls_everything_and_padding_is_minus_infinity(trajectory: Trajectory) -> None:
    examples = retrieval_examples([trajectory], webshop_grammar, CHUNKING)
    shorter = examples[0].model_copy(update={"chunks": examples[0].chunks[:3], "neg_idx": (0, 1), "pos_idx": (2,)})
    scores, positives = score_pages(expert_target(HashingEncoder(32), webshop_grammar), [examples[0], shorter])
    assert recall_at_k(scores[:1], positives[:1], 1).tolist() == [1.0]
    assert scores.shape == positives.shape == (2, len(examples[0].chunks))
    assert np.isneginf(scores[1, 3:]).all()
    assert positives[1].tolist() == [False, False, True, False][: len(examples[0].chunks)]


def test_scores_do_not_depend_on_how_pages_are_batched(trajectory: Trajectory) -> None:
    examples = retrieval_examples([trajectory], webshop_grammar, CHUNKING) * 100
    for scorer in (random_scores(0), instruction_similarity(HashingEncoder(32))):
        scores, _ = score_pages(scorer, examples)
        np.testing.assert_array_equal(scores, np.tile(score_pages(scorer, examples[:2])[0], (100, 1)))


def test_nothing_to_score_is_an_error() -> None:
    def scorer(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[np.ndarray]:
        return []

    with pytest.raises(ValueError, match="no examples"):
        score_pages(scorer, [])


def test_every_chunk_with_the_target_of_a_best_action_is_right() -> None:
    actions = ("click[b000000000]", "click[b000000001]", "click[b000000002]")
    one = Step(
        observation=RESULTS, available_actions=actions, action=actions[0], reward=0.0, values=(0.997, 0.5, 0.997)
    )
    episode = Trajectory(
        episode_id="one",
        goal=0,
        agent="any",
        seed=0,
        instruction=TASK,
        steps=(one,),
        final_observation="",
        total_reward=0.0,
        terminated=False,
        truncated=True,
    )
    (example,) = retrieval_examples([episode], webshop_grammar, CHUNKING)
    assert [example.chunks[index].split("\n")[1] for index in example.pos_idx] == ["red lamp", "green lamp"]


def test_steps_at_which_only_navigation_is_best_can_be_left_out(trajectory: Trajectory) -> None:
    back = step(RESULTS, "click[back to search]", "click[back to search]")
    longer = trajectory.model_copy(update={"steps": (*trajectory.steps, back)})
    assert [one.t for one in retrieval_examples([longer], webshop_grammar, CHUNKING)] == [1, 2, 4]
    kept = retrieval_examples([longer], webshop_grammar, CHUNKING, navigation=False)
    assert [one.t for one in kept] == [1, 2]
