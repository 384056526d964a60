from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.webshop_env.episodes.human_trajectories import HumanTrajectory, read_human_trajectory
from sightline.webshop_env.episodes.recording import RecordingError, read_recordings, write_recordings

PUBLISHED = Path(__file__).resolve().parents[5] / "shared" / "data" / "webshop" / "human_trajectories"

GOAL = {
    "asin": "B09SB494XX",
    "category": "beauty",
    "query": "face rollers",
    "name": "Ice Face Roller",
    "product_category": "Beauty › Skin Care",
    "instruction_text": "i want a pink ice roller, and price lower than 50.00 dollars",
    "attributes": ["high quality"],
    "price_upper": 50.0,
    "goal_options": ["pink"],
    "weight": 1,
}
BASE = "http://127.0.0.1:3000"
WORDS = "%5B%27pink%27%2C%20%27ice%27%5D"
ITEM = {"keywords": "['pink', 'ice']", "page": "1", "asin": "B09SB494XX", "options": {}}
PINK = ITEM | {"options": {"color": "pink / 1"}}
COLOUR = "%7B%27color%27:%20%27pink%20/%201%27%7D"
PAGES: list[dict[str, Any]] = [
    {"page": "index", "url": f"{BASE}/s1"},
    {
        "page": "search_results",
        "url": f"{BASE}/search_results/s1/{WORDS}/1",
        "content": {"keywords": ["pink", "ice"], "search_result_asins": ["B09SB494XX", "B000000001"], "page": 1},
    },
    {"page": "item_page", "url": f"{BASE}/item_page/s1/B09SB494XX/{WORDS}/1/%7B%7D", "content": ITEM},
    {
        "page": "item_sub_page",
        "url": f"{BASE}/item_sub_page/s1/B09SB494XX/{WORDS}/1/Features/%7B%7D",
        "content": ITEM,
    },
    {"page": "item_page", "url": f"{BASE}/item_page/s1/B09SB494XX/{WORDS}/1/%7B%7D", "content": ITEM},
    {"page": "item_page", "url": f"{BASE}/item_page/s1/B09SB494XX/{WORDS}/1/{COLOUR}", "content": PINK},
    {
        "page": "done",
        "url": f"{BASE}/done/s1/B09SB494XX/{COLOUR}",
        "content": {"asin": "B09SB494XX", "options": {"color": "pink / 1"}, "price": 14.5},
        "reward": 2 / 3,
        "reward_info": {
            "r_type": 1.0,
            "r_att": 0.0,
            "query_match": False,
            "category_match": True,
            "title_score": 0.5,
            "r_option": 1.0,
            "r_price": True,
        },
    },
]
ACTIONS = (
    "search[pink ice]",
    "click[b09sb494xx]",
    "click[features]",
    "click[< prev]",
    "click[pink / 1]",
    "click[buy now]",
)


def write(path: Path, change: Callable[[list[dict[str, Any]]], object] = lambda lines: None) -> Path:
    lines = json.loads(json.dumps([line | {"goal": GOAL} for line in PAGES]))
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(path: Path, change: Callable[[list[dict[str, Any]]], object] = lambda lines: None) -> HumanTrajectory:
    return read_human_trajectory(write(path / "s1.jsonl", change))


def test_what_was_clicked_follows_from_the_pages(tmp_path: Path) -> None:
    trajectory = read(tmp_path)
    assert trajectory.faults == ()
    assert (trajectory.name, trajectory.actions, trajectory.reward) == ("s1", ACTIONS, 2 / 3)
    assert trajectory.goal.attributes == ("high quality",)
    assert trajectory.visits[3].sub_page == "Features"


def test_a_page_that_was_loaded_again_is_no_action(tmp_path: Path) -> None:
    trajectory = read(tmp_path, lambda lines: lines.insert(2, lines[1]))
    assert trajectory.actions == (ACTIONS[0], None, *ACTIONS[1:])
    assert [step.action for step in trajectory.as_recording().steps] == list(ACTIONS)


def test_it_is_written_and_read_as_agents_recordings_are(tmp_path: Path) -> None:
    recording = read(tmp_path).as_recording()
    write_recordings(tmp_path / "people.jsonl", [recording])
    assert list(read_recordings(tmp_path / "people.jsonl")) == [recording]
    assert (recording.goal, recording.agent, recording.total_reward, recording.terminated) == (-1, "human", 2 / 3, True)
    assert [step.reward for step in recording.steps] == [0.0] * 5 + [2 / 3]
    assert "click[b000000001]" in recording.steps[1].available_actions
    assert "B000000001" in recording.steps[1].observation


def on(line: int, **changes: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda lines: lines[line].update(changes)


def within(line: int, field: str, **changes: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda lines: lines[line][field].update(changes)


FAULTS: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "line 3: asin is 'B09SB494XX' in the content and 'B0' in the address": on(
        2, url=f"{BASE}/item_page/s1/B0/{WORDS}/1/%7B%7D"
    ),
    "line 2: number is 1 in the content and 2 in the address": on(1, url=f"{BASE}/search_results/s1/{WORDS}/2"),
    "line 2: words is ('pink', 'ice') in the content and ('ice',) in the address": on(
        1, url=f"{BASE}/search_results/s1/%5B%27ice%27%5D/1"
    ),
    "line 6: options is {'color': 'blue'} in the content": within(5, "content", options={"color": "blue"}),
    "line 2: the address is not that of a page 'search_results'": on(1, url=f"{BASE}/item_page/s1/x"),
    "line 4: the goal is another one than on line 1": within(3, "goal", asin="B0OTHER"),
    "line 3: a reward belongs to the last page, which is 'done', and to no other": on(2, reward=0.5),
    "line 7: a reward belongs to the last page": lambda lines: lines[6].pop("reward"),
    "the addresses name 2 sessions: 's1', 's2'": on(0, url=f"{BASE}/s2"),
    "the instruction limits the price to 50.00, the goal to 60.0": lambda lines: [
        line["goal"].update(price_upper=60.0) for line in lines
    ],
    "r_price is True at a price of 51.0 and a limit of 50.0": within(6, "content", price=51.0),
    "r_option is 0.0, but 1 of 1 options were chosen": within(6, "reward_info", r_option=0.0),
    "r_option belongs to goals that ask for options": lambda lines: lines[6]["reward_info"].pop("r_option"),
    "r_type is 0.5, which its query, category and title score do not give": within(6, "reward_info", r_type=0.5),
    "the reward is 1.0, but its parts give 0.66": on(6, reward=1.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_file_says_in_two_ways_is_compared(tmp_path: Path, fault: str) -> None:
    faults = read(tmp_path, FAULTS[fault]).faults
    assert any(each.startswith(fault) for each in faults), faults


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (on(1, page="cart"), r"s1\.jsonl, line 2, field 'page'"),
        (lambda lines: lines[4].pop("goal"), r"line 5, field 'goal'"),
        (within(0, "goal", price_upper="much"), r"line 1, field 'goal.price_upper': .* found 'much'"),
        (within(1, "content", bid=3), r"line 2, field 'content.bid'"),
        (on(6, reward=float("nan")), r"line 7"),
        (lambda lines: lines.clear(), r"holds no page"),
    ],
)
def test_what_is_no_trajectory_is_refused_by_its_place(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, change)


@pytest.mark.parametrize("text", ["__import__('os')", "[" * 5000, "{'a': 1}", "['a', 2]", "'a'"])
def test_words_that_python_did_not_write_are_a_fault_and_never_run(tmp_path: Path, text: str) -> None:
    from urllib.parse import quote

    trajectory = read(tmp_path, on(1, url=f"{BASE}/search_results/s1/{quote(text, safe='')}/1"))
    assert trajectory.faults[0].startswith("line 2: the address is not that of a page 'search_results'")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published trajectories are not at {PUBLISHED}")
def test_the_published_trajectories_are_sound_and_their_rewards_add_up() -> None:
    trajectories = [read_human_trajectory(path) for path in sorted(PUBLISHED.glob("*.jsonl"))]
    assert len(trajectories) == 9
    assert [trajectory.faults for trajectory in trajectories] == [()] * 9
    for trajectory in trajectories:
        # One page in all nine files was loaded again; every other step is an action.
        assert trajectory.actions.count(None) == (trajectory.name == "20220427_1_13")
        assert trajectory.actions[-1] == "click[buy now]"
        assert trajectory.as_recording().total_reward == trajectory.reward
