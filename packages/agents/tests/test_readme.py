from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightline.agents import LexicalActor
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import random_gated
from sightline.retrieval import ChunkingConfig

README = Path(__file__).resolve().parents[1] / "README.md"
FIRST, STUDENT, VERDICT = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def run(example: str, **names: Any) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(example, str(README), "exec"), names)
    return output.getvalue()


def test_the_first_example_reads_the_lamp_and_takes_it() -> None:
    assert run(FIRST) == "click[blue] ['[button] blue [button_]\\na blue lamp']\n"


def test_the_packaged_student_gives_each_action_its_share() -> None:
    found = re.search(r"probabilities=\((0\.\d+), (0\.\d+)\), prompt_tokens=15, completion_tokens=5", run(STUDENT))
    assert found is not None
    assert float(found[1]) + float(found[2]) == pytest.approx(1)


def test_episodes_lead_to_a_table_and_a_verdict(toys: ModuleType) -> None:
    agents = [
        random_gated(LexicalActor(webshop_grammar), webshop_grammar, seed=seed, top_k=5, chunking=ChunkingConfig())
        for seed in range(2)
    ]
    names = ("recurrent_state_gated_trained", "baseline_rag")
    output = run(
        VERDICT,
        agents=[replace(agent, name=name) for agent, name in zip(agents, names, strict=True)],
        environments=toys.corridors(2),
        goals=range(6),
        expert=toys.walker,
        webshop_grammar=webshop_grammar,
    )
    assert "| recurrent_state_gated_trained |" in output
    assert output.endswith("undecided, 6 paired goals are too few (at least 50).\n")
