"""Legal actions, in whichever way an environment tells them.

Three ways are understood, the first that is there counts: `info["masks"]`, one array for each head;
`info["action_mask"]` (Gymnasium), the heads' masks one behind the other; and a method `action_masks()`
(Stable-Baselines3) that returns the same. Knows nothing about policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from sightline.tamiyo_policy.policy.action_space import FactoredActionSpace

Flags = NDArray[np.bool_]
Masks = dict[str, Flags]


class MaskReader:
    """Reads the masks of one vector environment.

    Args:
        heads: the heads of its actions.
        environment: asked for `action_masks()` of its environments where its information has no masks.
    """

    def __init__(self, heads: FactoredActionSpace, environment: VectorEnv[Any, Any, Any]) -> None:
        self._heads = heads
        self._environment = environment
        self._has_method = _has_method(environment)

    def read(self, information: Mapping[str, Any], ended: Flags | None = None) -> Masks | None:
        """Return the legal choices of the next action, by the names of `mask_shapes`, each [E, ...]; None for all.

        Args:
            information: what the environment returned last.
            ended: [E], where an episode has ended, so that no action follows and none needs to be legal.

        Raises:
            ValueError: a mask has another size than the choices it is about.
        """
        masks = self.told(information)
        if masks is None and self._has_method:
            masks = self.split(_rows_of(self._ask()))
        return masks if masks is None or ended is None else _opened(masks, ended)

    def told(self, information: Mapping[str, Any], chosen: NDArray[np.int64] | None = None) -> Masks | None:
        """Return the masks that are in an environment's information, of all or of the chosen environments."""
        masks: Masks | None = None
        if "masks" in information:
            by_head = information["masks"]
            masks = {
                name: _with_gaps(np.asarray(by_head[name], np.bool_), by_head.get(f"_{name}"))
                for name in self._heads.mask_shapes
                if name in by_head
            }
        elif "action_mask" in information:
            rows = _rows_of(information["action_mask"], size=sum(self._heads.sizes))
            masks = self.split(_with_gaps(rows, information.get("_action_mask")))
        if masks is None or chosen is None:
            return masks
        return _opened({name: mask[chosen] for name, mask in masks.items()}, np.ones(len(chosen), np.bool_))

    def split(self, masks: Any) -> Masks:
        """Return masks by head, from a mapping of such or from rows [E, sum of sizes], one head behind the other.

        Raises:
            ValueError: the rows have another length, or there is a slot head, whose masks need names.
        """
        if isinstance(masks, Mapping):
            return {name: np.asarray(mask, np.bool_) for name, mask in masks.items()}
        rows, sizes = np.asarray(masks, np.bool_), self._heads.sizes
        rows = rows.reshape(len(rows), -1)
        if self._heads.slot_head is not None or rows.shape[1] != sum(sizes):
            raise ValueError(
                f"action masks must have {sum(sizes)} columns, one head's choices behind the other's "
                f"({', '.join(f'{name}: {size}' for name, size in zip(self._heads.names, sizes, strict=True))}), not "
                f"{rows.shape[1]}"
                + ("; masks of slots need names, in info['masks']" if self._heads.slot_head is not None else "")
            )
        parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        return dict(zip(self._heads.names, parts, strict=True))

    def _ask(self) -> Any:
        own = getattr(self._environment, "action_masks", None)
        return self._environment.call("action_masks") if own is None else own()  # ty: ignore[missing-attribute] - optional


def _has_method(environment: VectorEnv[Any, Any, Any]) -> bool:
    if hasattr(environment, "action_masks"):
        return True
    call = getattr(environment, "call", None)
    try:
        return call is not None and all(call("has_wrapper_attr", "action_masks"))
    except (AttributeError, NotImplementedError):
        return False


def _rows_of(masks: Any, size: int | None = None) -> Flags:
    """Return rows [E, sum of sizes] of E masks, each an array or a sequence of arrays; None is all True."""
    if isinstance(masks, np.ndarray) and masks.dtype != object:
        return masks.astype(np.bool_).reshape(len(masks), -1)
    rows = []
    for mask in masks:
        if mask is None:
            rows.append(np.ones(size or 0, np.bool_))
        elif isinstance(mask, np.ndarray) and mask.dtype != object:
            rows.append(mask.astype(np.bool_).ravel())
        else:
            rows.append(np.concatenate([np.ravel(part).astype(np.bool_) for part in mask]))
    return np.stack(rows)


def _with_gaps(rows: Flags, told: Any) -> Flags:
    """Return masks in which everything is legal where an environment told nothing."""
    if told is None:
        return rows
    return rows | ~np.asarray(told, np.bool_).reshape(-1, *(1,) * (rows.ndim - 1))


def _opened(masks: Masks, ended: Flags) -> Masks:
    """Return masks in which everything is legal where an episode has ended and nothing else would be."""
    if not ended.any():
        return masks
    opened = {}
    for name, mask in masks.items():
        empty = ~mask.any(-1, keepdims=True) & ended.reshape(-1, *(1,) * (mask.ndim - 1))
        opened[name] = mask | empty
    return opened
