"""A tree of episodes over one environment that can be saved and restored: fork at any point, go back, prune.

Every node is a snapshot; the environment is the one place where episodes are played. This module knows nothing of how
actions are chosen: a search (Monte-Carlo, beam, by hand) is a loop over `fork`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from sightline.webshop_env.episodes.recording import Recording, record, write_recordings
from sightline.webshop_env.episodes.snapshot import decode

if TYPE_CHECKING:
    from sightline.webshop_env.rules.shop import Shop


class Restorable(Protocol):
    """What a tree needs of an environment."""

    def snapshot(self) -> bytes:
        """Return the complete state of the episode."""
        ...

    def restore(self, snapshot: bytes) -> Any:
        """Put a saved state back and return its observation."""
        ...

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take an action: (observation, reward, terminated, truncated, info)."""
        ...


@dataclass(eq=False, slots=True)
class Node:
    """One point of an episode; only its tree makes and changes it."""

    snapshot: bytes = field(repr=False)
    """The environment's state here."""
    parent: Node | None = field(default=None, repr=False)
    """The node before; None for the root."""
    action: str | None = None
    """What led here from the parent; None for the root."""
    reward: float = 0.0
    """What that action earned."""
    terminated: bool = False
    """Whether it ended the task."""
    truncated: bool = False
    """Whether it reached a step limit."""
    depth: int = 0
    """How many actions lead here from the root."""
    _children: dict[str, Node] = field(default_factory=dict, repr=False)

    @property
    def children(self) -> Mapping[str, Node]:
        """The nodes that were forked from here, by action, in order."""
        return MappingProxyType(self._children)

    @property
    def ended(self) -> bool:
        """Whether the episode is over here."""
        return self.terminated or self.truncated

    @property
    def path(self) -> tuple[Node, ...]:
        """The nodes from the root to this one."""
        nodes = [self]
        while (parent := nodes[-1].parent) is not None:
            nodes.append(parent)
        return tuple(reversed(nodes))


class TimeTree:
    """A tree of episodes that share their beginnings.

    >>> tree = TimeTree(env)                                    # doctest: +SKIP
    >>> results = tree.fork(tree.root, "search[desk lamp]")     # doctest: +SKIP
    >>> lamps = [tree.fork(results, action) for action in ...]  # doctest: +SKIP
    >>> tree.goto(lamps[0])                                     # doctest: +SKIP

    Args:
        env: stands in an episode, which becomes the root; the tree moves it about.
        max_nodes: how many nodes the tree may hold; None for no limit.
    """

    def __init__(self, env: Restorable, *, max_nodes: int | None = None) -> None:
        if max_nodes is not None and max_nodes < 1:
            raise ValueError(f"max_nodes must be at least 1 or None, not {max_nodes!r}")
        self.env = env
        self.root = Node(env.snapshot())
        self._max_nodes = max_nodes
        self._nodes = {self.root}

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def __iter__(self) -> Iterator[Node]:
        """All nodes, each before its children, children in the order of their forks."""
        return self._below(self.root)

    @property
    def leaves(self) -> Iterator[Node]:
        """The nodes without children, in the order of the tree."""
        return (node for node in self if not node.children)

    def fork(self, node: Node, action: str) -> Node:
        """Take an action from a node; the environment then stands at the child.

        The same action gives the same child again.

        Raises:
            ValueError: the node is not in the tree, the episode is over there, or the tree is full. What the
                environment raises is passed on; in any case the tree stays as it was.
        """
        self._require(node)
        if (known := node._children.get(action)) is not None:
            self.goto(known)
            return known
        if node.ended:
            raise ValueError(f"the episode is over at this node (depth {node.depth}); fork an earlier one")
        if self._max_nodes is not None and len(self) >= self._max_nodes:
            raise ValueError(f"the tree is full with {len(self)} nodes; prune some, or raise max_nodes")
        self.env.restore(node.snapshot)
        _, reward, terminated, truncated, _ = self.env.step(action)
        child = Node(self.env.snapshot(), node, action, float(reward), terminated, truncated, node.depth + 1)
        node._children[action] = child
        self._nodes.add(child)
        return child

    def goto(self, node: Node) -> Any:
        """Put the environment where a node is.

        Returns:
            What the environment's `restore` returns: the observation.

        Raises:
            ValueError: the node is not in the tree.
        """
        self._require(node)
        return self.env.restore(node.snapshot)

    def prune(self, node: Node) -> None:
        """Take a node and everything below it out of the tree; the environment stays where it is.

        Raises:
            ValueError: the node is the root, or not in the tree.
        """
        self._require(node)
        if node.parent is None:
            raise ValueError("the root cannot be pruned; begin another tree")
        del node.parent._children[str(node.action)]
        self._nodes.difference_update(self._below(node))

    def to_recordings(self, *, agent: str = "tree") -> Iterator[Recording]:
        """One recording for every leaf, from the root to it.

        Args:
            agent: who is said to have acted.

        Raises:
            TypeError: the environment is not a shop's.
            RecordingError: an action has no place in a recording.
        """
        shop: Shop | None = getattr(self.env, "shop", None)
        if shop is None:
            raise TypeError(f"only episodes of a shop can be recorded, not those of {type(self.env).__name__}")
        for number, leaf in enumerate(self.leaves):
            path = leaf.path
            states = [decode(shop, node.snapshot)[0] for node in path]
            actions = [str(node.action) for node in path[1:]]
            moments = list(zip(states, actions, strict=False))  # the leaf has no action after it
            yield record(shop, moments, states[-1], episode_id=f"{agent}-leaf{number}", agent=agent)

    def save(self, path: str | Path, *, agent: str = "tree") -> None:
        """Write `to_recordings` to a file, whole or not at all."""
        write_recordings(path, self.to_recordings(agent=agent))

    def _below(self, node: Node) -> Iterator[Node]:
        waiting = [node]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node._children.values()))

    def _require(self, node: Node) -> None:
        if node not in self._nodes:
            raise ValueError(f"this node (depth {node.depth}) is not in the tree: it was pruned, or is another tree's")
