"""The shop's tools in verl's own agent loop: its classes find, make, execute and release them.

uv run --with 'verl>=0.9' pytest packages/webshop-env/tests/adapters/test_verl.py
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from sightline.webshop_env import Catalogue, Shop, build_goals
from sightline.webshop_env.episodes import best_action

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("default"),  # verl warns of its own affairs
]

TOOLS = """
tools:
  - class_name: sightline.webshop_env.adapters.verl.SearchTool
    config: {type: native, products: 40, step_limit: 15}
  - class_name: sightline.webshop_env.adapters.verl.ClickTool
    config: {type: native, products: 40, step_limit: 15}
"""


@pytest.fixture
def loop(tmp_path: Path) -> Any:
    """verl's loop with the tools of a file; its model and tokenizer are not needed to call tools."""
    from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop  # ty: ignore[import-not-found]
    from verl.tools.tool_registry import load_all_tools  # ty: ignore[import-not-found]

    path = tmp_path / "tools.yaml"
    path.write_text(TOOLS)
    loop = ToolAgentLoop.__new__(ToolAgentLoop)
    loop.tools = {tool.name: tool for tool in load_all_tools(str(path), None)}
    loop.max_tool_response_length = 100_000
    loop.tool_response_truncate_side = "middle"
    return loop


@pytest.fixture(scope="module")
def same() -> Shop:
    catalogue = Catalogue.generate(40)
    return Shop(catalogue, build_goals(catalogue, "human", 42), step_limit=15)


def trajectory(row: dict[str, Any]) -> Any:
    from verl.experimental.agent_loop.tool_agent_loop import AgentData  # ty: ignore[import-not-found]

    kwargs = row["extra_info"]["tools_kwargs"]
    return AgentData(row["prompt"], [], [], None, None, {}, "request", kwargs)


def call(loop: Any, data: Any, name: str, arguments: dict[str, Any]) -> tuple[str, float, dict[str, Any]]:
    from verl.experimental.agent_loop.tool_parser import FunctionCall  # ty: ignore[import-not-found]

    made = FunctionCall(name=name, arguments=json.dumps(arguments))
    response, reward, facts = asyncio.run(loop._call_tool(made, data.tools_kwargs, data))
    return response.text, reward, facts


def test_trajectories_are_played_side_by_side_to_their_own_rewards(loop: Any, same: Shop) -> None:
    from sightline.webshop_env.adapters.verl import training_rows

    rows = training_rows(same, [3, 4])
    open_ones = [(trajectory(row), same.start(goal)) for row, goal in zip(rows, (3, 4), strict=True)]
    earned = [0.0, 0.0]
    while open_ones:
        for number, (data, state) in enumerate(list(open_ones)):
            action = best_action(same, state)
            assert action is not None
            name, argument = action[:-1].split("[", 1)
            parameter = {"search": "words", "click": "label"}[name]
            text, reward, facts = call(loop, data, name, {parameter: argument})
            state, outcome = same.act(state, action)
            assert (reward, facts) == (outcome.reward, {"action_is_valid": True})
            assert text
            earned[number] += reward
            open_ones[number] = data, state
        open_ones = [(data, state) for data, state in open_ones if not state.done]
    assert earned[0] == 1.0


def test_a_wrong_call_says_what_can_be_done_and_an_ended_episode_stays_as_it_is(loop: Any, same: Shop) -> None:
    from sightline.webshop_env.adapters.verl import training_rows

    data = trajectory(training_rows(same, [0])[0])
    text, reward, facts = call(loop, data, "click", {"label": "no such thing"})
    assert "cannot be clicked here" in text
    assert (reward, facts) == (0.0, {"action_is_valid": False, "action_error": text})
    assert "must be text" in call(loop, data, "search", {"words": 3})[0]
    assert not call(loop, data, "click", {})[2]["action_is_valid"]


def test_rows_hold_the_instruction_and_what_verls_data_set_reads(same: Shop) -> None:
    from sightline.webshop_env.adapters.verl import training_rows

    (row,) = training_rows(same, [7])
    assert same.goals.goals[7].instruction_text in row["prompt"][0]["content"]
    assert row["extra_info"]["tools_kwargs"]["click"] == {"create_kwargs": {"goal": 7}}
    assert row["agent_name"] == "tool_agent"
