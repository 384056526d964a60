from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.webshop_env import Shop, SnapshotError, WebShopEnv
from sightline.webshop_env.episodes.recording import read_recordings
from sightline.webshop_env.episodes.replay import replay, verify
from sightline.webshop_env.episodes.tree import Node, TimeTree

LAMP = ("search[desk lamp]", "click[b0lamp]", "click[red]", "click[small]", "click[buy now]")


class Counter:
    """An environment that is no shop: add a number to a total; over at 10 or more."""

    def __init__(self) -> None:
        self.total = 0

    def snapshot(self) -> bytes:
        return str(self.total).encode()

    def restore(self, snapshot: bytes) -> int:
        self.total = int(snapshot)
        return self.total

    def step(self, action: str) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.total += int(action)
        return self.total, float(action), self.total >= 10, False, {}


@pytest.fixture
def env(shop: Shop) -> WebShopEnv:
    env = WebShopEnv(shop=shop)
    env.reset(seed=4, options={"goal": 0})
    return env


@pytest.fixture
def tree(env: WebShopEnv) -> TimeTree:
    return TimeTree(env)


def grow(tree: TimeTree, *actions: str) -> Node:
    node = tree.root
    for action in actions:
        node = tree.fork(node, action)
    return node


def test_a_fork_is_what_stepping_there_gives(shop: Shop, env: WebShopEnv) -> None:
    tree = TimeTree(env)
    leaf = grow(tree, *LAMP)
    alone = WebShopEnv(shop=shop)
    observation, _ = alone.reset(seed=4, options={"goal": 0})
    for node, action in zip(leaf.path, LAMP, strict=False):
        assert tree.goto(node) == observation
        observation, reward, terminated, truncated, _ = alone.step(action)
        child = node.children[action]
        assert (child.reward, child.terminated, child.truncated) == (reward, terminated, truncated)
    assert tree.goto(leaf) == observation
    assert (leaf.reward, leaf.ended, leaf.depth) == (1.0, True, 5)


def test_the_environment_stands_at_what_was_forked(env: WebShopEnv, tree: TimeTree) -> None:
    results = tree.fork(tree.root, "search[lamp]")
    assert env.snapshot() == results.snapshot
    tree.goto(tree.root)
    assert tree.fork(tree.root, "search[lamp]") is results
    assert env.snapshot() == results.snapshot
    assert len(tree) == 2


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4), st.booleans()), max_size=40))
def test_a_tree_is_the_set_of_paths_that_were_forked_and_not_pruned(moves: list[tuple[int, int, bool]]) -> None:
    tree = TimeTree(Counter())
    paths: set[tuple[str, ...]] = {()}  # the same tree, kept as paths

    def spelled(node: Node) -> tuple[str, ...]:
        return tuple(str(each.action) for each in node.path[1:])

    for pick, number, cut in moves:
        node = list(tree)[pick % len(tree)]
        if cut and node is not tree.root:
            gone = spelled(node)
            tree.prune(node)
            paths = {path for path in paths if path[: len(gone)] != gone}
        elif not node.ended:
            tree.fork(node, str(number))
            paths.add((*spelled(node), str(number)))
    nodes = list(tree)
    assert len(nodes) == len(tree) == len(paths)
    assert {spelled(node) for node in nodes} == paths
    assert {spelled(leaf) for leaf in tree.leaves} == {
        path for path in paths if not any(len(other) > len(path) and other[: len(path)] == path for other in paths)
    }
    for node in nodes:
        total = sum(map(int, spelled(node)))
        assert tree.goto(node) == total
        assert (node.depth, node.ended) == (len(spelled(node)), total >= 10)
        assert node.parent is None or nodes.index(node.parent) < nodes.index(node)


def test_a_deep_tree_can_be_walked_and_pruned() -> None:
    tree = TimeTree(Counter())
    node = grow(tree, *["0"] * 3000)
    assert node.depth == 2999 + 1
    assert len(node.path) == sum(1 for _ in tree) == 3001
    assert len(repr(node)) < 300
    tree.prune(tree.root.children["0"])
    assert list(tree) == [tree.root]


def test_an_ended_episode_cannot_be_forked(tree: TimeTree) -> None:
    leaf = grow(tree, *LAMP)
    with pytest.raises(ValueError, match=r"over at this node \(depth 5\)"):
        tree.fork(leaf, "search[mug]")


def test_a_full_tree_takes_no_more_until_it_is_pruned(env: WebShopEnv) -> None:
    tree = TimeTree(env, max_nodes=2)
    lamp = tree.fork(tree.root, "search[lamp]")
    with pytest.raises(ValueError, match="full with 2 nodes"):
        tree.fork(tree.root, "search[mug]")
    assert tree.fork(tree.root, "search[lamp]") is lamp
    tree.prune(lamp)
    assert tree.fork(tree.root, "search[mug]") in tree


@pytest.mark.parametrize("use", ["goto", "fork", "prune"])
def test_a_pruned_node_is_refused(tree: TimeTree, use: str) -> None:
    results = tree.fork(tree.root, "search[lamp]")
    item = tree.fork(results, "click[b0lamp]")
    tree.prune(results)
    for node in (results, item):
        assert node not in tree
        with pytest.raises(ValueError, match="it was pruned"):
            getattr(tree, use)(node, *(["x"] if use == "fork" else []))


def test_the_root_cannot_be_pruned(tree: TimeTree) -> None:
    with pytest.raises(ValueError, match="root"):
        tree.prune(tree.root)


def test_a_tree_without_room_for_its_root_is_refused(env: WebShopEnv) -> None:
    with pytest.raises(ValueError, match="max_nodes must be at least 1"):
        TimeTree(env, max_nodes=0)


def test_a_step_that_raises_leaves_the_tree_as_it_was(tree: TimeTree) -> None:
    with pytest.raises(TypeError):
        tree.fork(tree.root, 3)  # ty: ignore[invalid-argument-type]
    assert len(tree) == 1
    assert not tree.root.children


def test_children_cannot_be_changed_from_outside(tree: TimeTree) -> None:
    with pytest.raises(TypeError):
        tree.root.children["x"] = tree.root  # ty: ignore[invalid-assignment]


def test_a_saved_tree_is_one_recording_per_leaf_and_reproduces(tmp_path: Path, shop: Shop, tree: TimeTree) -> None:
    grow(tree, *LAMP)
    grow(tree, *LAMP[:3], "click[buy now]")
    grow(tree, "search[<r>]", "click[next >]")
    path = tmp_path / "tree.jsonl"
    tree.save(str(path), agent="me")  # as the README has it
    recordings = list(read_recordings(path))
    assert [[step.action for step in recording.steps] for recording in recordings] == [
        list(LAMP),
        [*LAMP[:3], "click[buy now]"],
        ["search[<r>]", "click[next >]"],
    ]
    assert [recording.total_reward for recording in recordings] == pytest.approx([1.0, 0.75, 0.0])
    assert [recording.episode_id for recording in recordings] == ["me-leaf0", "me-leaf1", "me-leaf2"]
    assert all(result.reproduces for result in verify(shop, path))


def test_a_tree_that_begins_in_mid_episode_is_recorded_from_there(shop: Shop, env: WebShopEnv) -> None:
    for action in LAMP[:2]:
        env.step(action)
    tree = TimeTree(env)
    grow(tree, *LAMP[2:])
    (recording,) = tree.to_recordings()
    assert [step.action for step in recording.steps] == list(LAMP[2:])
    assert replay(shop, recording).reproduces


def test_only_episodes_of_a_shop_can_be_recorded() -> None:
    with pytest.raises(TypeError, match="not those of Counter"):
        list(TimeTree(Counter()).to_recordings())


def test_a_snapshot_of_another_shop_in_the_tree_is_the_environments_error(tree: TimeTree) -> None:
    node = tree.fork(tree.root, "search[lamp]")
    node.snapshot = b"not one"
    with pytest.raises(SnapshotError):
        tree.goto(node)
