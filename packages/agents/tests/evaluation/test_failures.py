from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sightline.agents.evaluation.failures import Evidence, failure_table, find_failures, typical_failures
from sightline.agents.grammar import ShopEnding, webshop_grammar
from sightline.agents.records import Attention, Situation
from sightline.agents.trajectory import Step, Trajectory
from sightline.retrieval import ChunkingConfig

CHUNKING = ChunkingConfig()
SEARCH = "WebShop\n\n[button] Search [button_]"
RESULTS = (
    "[button] Next > [button_]\n\n[button] B0AAAAAAAA [button_]\na red lamp\n\n[button] B0BBBBBBBB [button_]\na desk"
)
ITEM = "colour\n\n[button] red [button_]\n\n[button] Buy Now [button_]"
ACTIONS = {
    SEARCH: ("search[lamp]", "search[desk]"),
    RESULTS: ("click[back to search]", "click[next >]", "click[b0aaaaaaaa]", "click[b0bbbbbbbb]"),
    ITEM: ("click[< prev]", "click[red]", "click[buy now]"),
}
NEXT, RIGHT, WRONG, BACK = "click[next >]", "click[b0aaaaaaaa]", "click[b0bbbbbbbb]", "click[< prev]"
RED, BUY = "click[red]", "click[buy now]"


def step(page: str, action: str, expert: str | None, *read: int, reward: float = 0.0) -> Step:
    chunks = page.split("\n\n")
    return Step(
        observation=page,
        available_actions=ACTIONS[page],
        action=action,
        expert_action=expert,
        reward=reward,
        attention=tuple(Attention(chunks[index], 0.5, selected=True) for index in read),
    )


def episode(*steps: Step, goal: int = 0, error: str | None = None) -> Trajectory:
    return Trajectory(
        episode_id=str(goal),
        goal=goal,
        agent="any",
        seed=0,
        instruction="a red lamp",
        steps=steps,
        final_observation="",
        total_reward=0.0,
        terminated=True,
        truncated=False,
        error=error,
    )


FOUND = (step(SEARCH, "search[lamp]", "search[lamp]", 0), step(RESULTS, RIGHT, RIGHT, 1))
MISSED = (step(SEARCH, "search[lamp]", None, 0), step(RESULTS, WRONG, RIGHT, 2), step(ITEM, BUY, BACK, 2, reward=0.3))
LOST = step(RESULTS, NEXT, None, 0)
SUCCESS = (*FOUND, step(ITEM, RED, RED, 1), step(ITEM, BUY, BUY, 2, reward=1.0))


@pytest.mark.parametrize(
    ("steps", "ending", "evidence", "decisive"),
    [
        (MISSED, ShopEnding.NEVER_FOUND, Evidence.NOT_READ, 1),
        ((*FOUND, step(ITEM, BUY, RED, 2)), ShopEnding.WRONG_OPTIONS, Evidence.NOT_READ, 2),
        ((*FOUND, step(ITEM, BUY, RED, 1, 2)), ShopEnding.WRONG_OPTIONS, Evidence.READ, 2),
        ((*FOUND, step(ITEM, BACK, RED), *MISSED[1:]), ShopEnding.WRONG_PRODUCT, Evidence.READ, 2),
        ((*FOUND, step(ITEM, BUY, BUY, 2, reward=0.5)), ShopEnding.AS_EXPERT, Evidence.NO_CHUNK, None),
        (
            (*FOUND, step(ITEM, BACK, RED, 0), step(RESULTS, NEXT, RIGHT, 1)),
            ShopEnding.OUT_OF_STEPS,
            Evidence.NOT_READ,
            2,
        ),
        ((step(SEARCH, "search[desk]", "search[lamp]", 0),), ShopEnding.NEVER_FOUND, Evidence.NO_CHUNK, 0),
        # Pages without results, where the expert would search for what the agent did not propose.
        ((step(SEARCH, "search[desk]", "search[lamp]", 0), LOST, LOST), ShopEnding.NEVER_FOUND, Evidence.NO_CHUNK, 0),
    ],
)
def test_a_failure_is_told_by_its_end_and_its_decisive_step(
    steps: Sequence[Step], ending: ShopEnding, evidence: Evidence, decisive: int | None
) -> None:
    (failure,) = find_failures([episode(*steps)], webshop_grammar, CHUNKING)
    assert (failure.ending, failure.evidence, failure.step) == (ending, evidence, decisive)


def test_a_departure_that_was_made_good_is_not_decisive() -> None:
    astray = (step(RESULTS, WRONG, RIGHT, 1), step(ITEM, BACK, BACK, 0))
    (failure,) = find_failures([episode(*astray, *FOUND[1:], step(ITEM, BUY, RED, 2))], webshop_grammar, CHUNKING)
    assert failure.step == 3


def test_successes_and_broken_episodes_are_no_failures() -> None:
    assert (
        find_failures([episode(*SUCCESS), episode(*MISSED, error="gone"), episode()], webshop_grammar, CHUNKING) == []
    )


def test_episodes_without_an_expert_cannot_be_explained() -> None:
    with pytest.raises(ValueError, match="hold no expert's actions; give roll_out an expert"):
        find_failures([episode(step(RESULTS, WRONG, None, 1))], webshop_grammar, CHUNKING)


def test_the_decisive_page_is_shown_with_the_scores_of_the_agents_scorer() -> None:
    (failure,) = find_failures([episode(*MISSED)], webshop_grammar, CHUNKING)
    seen: list[Situation] = []

    def scorer(situations: Sequence[Situation], chunks: Sequence[Sequence[str]]) -> list[np.ndarray]:
        seen.extend(situations)
        return [np.arange(len(page), dtype=np.float64) for page in chunks]

    assert [chunk.score for chunk in failure.chunks(webshop_grammar, CHUNKING)] == [None, None, 0.5]
    assert [chunk.score for chunk in failure.chunks(webshop_grammar, CHUNKING, scorer)] == [0, 1, 2]
    assert [situation.observation for situation in seen] == [RESULTS]


def test_the_table_shares_failures_out_over_all_goals() -> None:
    wrong = (*FOUND, step(ITEM, BUY, RED, 1, 2))
    episodes = [episode(*MISSED), episode(*SUCCESS), episode(*wrong, goal=1), episode(*SUCCESS, goal=2)]
    table = failure_table([episodes], find_failures(episodes, webshop_grammar, CHUNKING), webshop_grammar, seed=0)
    assert table.caption.endswith("resampled: goals; nothing (Wilson's formula).")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows[ShopEnding.NEVER_FOUND][0] == "1"
    assert rows[ShopEnding.NEVER_FOUND][1].startswith("16.7 [")  # half of one goal in three
    assert rows[ShopEnding.NEVER_FOUND][2:] == ("1", "0", "0", "0")
    assert rows[ShopEnding.WRONG_OPTIONS][2:] == ("0", "1", "0", "0")
    assert rows["all failures"][0] == "2"
    assert rows["all failures"][1].startswith("50.0 [")


def test_shares_of_several_training_seeds_allow_for_other_seeds() -> None:
    seeds = [[episode(*MISSED), episode(*SUCCESS, goal=1)], [episode(*SUCCESS), episode(*SUCCESS, goal=1)]]
    table = failure_table(seeds, find_failures(seeds[0], webshop_grammar, CHUNKING), webshop_grammar, seed=0)
    assert "goals and training seeds" in table.caption
    assert table.rows[-1][2].startswith("25.0 [0.0,")


def test_failures_that_went_to_and_fro_are_counted() -> None:
    around = (step(RESULTS, WRONG, RIGHT), step(ITEM, BACK, BACK))
    episodes = [episode(*MISSED), episode(*around, *around, *around, goal=1)]
    table = failure_table([episodes], find_failures(episodes, webshop_grammar, CHUNKING), webshop_grammar, seed=0)
    assert table.columns[-1] == "went to and fro between two pages"
    assert table.rows[-1][-1] == "1"


def test_failures_of_other_episodes_are_refused() -> None:
    (failure,) = find_failures([episode(*MISSED)], webshop_grammar, CHUNKING)
    with pytest.raises(ValueError, match="a failure is of another episode than these"):
        failure_table([[episode(*MISSED)]], [failure], webshop_grammar, seed=0)


def test_typical_failures_are_the_first_of_the_most_frequent_kinds() -> None:
    wrong = (*FOUND, step(ITEM, BUY, RED, 1, 2))
    episodes = [episode(*wrong, goal=1), episode(*MISSED, goal=2), episode(*MISSED, goal=3)]
    failures = find_failures(episodes, webshop_grammar, CHUNKING)
    assert [failure.trajectory.goal for failure in typical_failures(failures, 2)] == [2, 1]
    assert [failure.trajectory.goal for failure in typical_failures(failures, 1)] == [2]
