"""Trees that mctx and OpenSpiel built, recorded by `benchmarks/record_rivals.py`, are built here again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.agents.planning import Search
from sightline.agents.planning.tree import noise
from sightline.agents.planning.tree.trees import LockStepTree
from sightline.agents.selfplay import ConnectFour

DATA = Path(__file__).parents[1] / "data"
MCTX = json.loads((DATA / "mctx.json").read_text())
OPEN_SPIEL = json.loads((DATA / "open_spiel.json").read_text())


def node_visits(tree: Any, row: int) -> dict[str, int]:
    """Visits of every node by the actions that lead to it."""
    assert isinstance(tree, LockStepTree)
    forest = tree.forest
    first = row * forest.size
    names = {first: ""}
    for node in range(first + 1, first + int(forest.used[row])):
        edge = int(forest.parent_edge[node])
        names[node] = f"{names[edge // forest.width]}{edge % forest.width}"
    return {name: int(forest.node_visits[node]) for node, name in names.items()}


@pytest.mark.parametrize("recorded", MCTX["searches"], ids=lambda search: f"{search['method']} {search['discount']}")
def test_mctx_builds_the_same_trees(table_world: Any, recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = MCTX["world"]
    discount = np.full(np.shape(tables["reward"]), recorded["discount"]).tolist()
    world = table_world(
        tables["next"], tables["reward"], discount, tables["logits"], tables["value"],
        players=2 if recorded["discount"] < 0 else 1, bounds=(-2.0, 2.0), deterministic=False,
    )  # fmt: skip
    roots = list(range(len(recorded["action"])))
    monkeypatch.setattr(noise, "gumbel", lambda seeds, width: np.array(recorded["gumbel"]))
    gumbel = recorded["method"] == "gumbel"
    search = Search(simulations=MCTX["simulations"], method=recorded["method"], fpu=-2.0, explore=gumbel)
    result = search.run(world, roots)
    assert result.visits.tolist() == recorded["visits"]
    assert [node_visits(result.tree, row) for row in roots] == recorded["nodes"]
    assert result.action.tolist() == recorded["action"]
    np.testing.assert_allclose(np.nan_to_num(result.q), recorded["q"], atol=1e-5)
    np.testing.assert_allclose(result.value, recorded["value"], atol=1e-5)
    if gumbel:
        np.testing.assert_allclose(result.policy, recorded["policy"], atol=1e-5)


@pytest.mark.parametrize("executor", ["lockstep", "scalar"])
@pytest.mark.parametrize("recorded", OPEN_SPIEL["searches"], ids=lambda search: str(search["history"]))
def test_open_spiel_counts_the_same_visits(executor: Any, recorded: Any) -> None:
    def judge(states: Any) -> Any:
        logits, values = [], []
        for mover, other in zip(*(side.tolist() for side in states), strict=True):
            digest = hashlib.sha256(f"{mover} {other}".encode()).digest()
            logits.append(np.log([(1 + int.from_bytes(digest[at : at + 4], "big")) / 2**32 for at in range(0, 28, 4)]))
            values.append(int.from_bytes(digest[28:], "big") / 2**31 - 1)
        return np.array(logits), np.array(values)

    game = ConnectFour()
    board = game.initial()
    for action in recorded["history"]:
        board = game.apply(board, action)
    # OpenSpiel's constant is in units of the value, whose range is 2, and does not grow.
    search = Search(simulations=OPEN_SPIEL["simulations"], c_init=1.0, c_base=1e18, fpu=0.0, exhausted=False)
    result = search.run(game.model(judge), [board], executor=executor)
    assert result.visits[0].tolist() == recorded["visits"]
