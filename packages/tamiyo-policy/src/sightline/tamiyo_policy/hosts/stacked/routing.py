"""Which modules run on which rows of a stacked forward pass, and with what share of their output.

A forward pass may evaluate one network under several settings of alpha. Rows that agree on a network and on the alphas
of its first k slots share the computation up to there, so that the rows multiply only where settings part.

Letters: E networks, K slots, R rows at the end of the pass. Knows nothing about parameters, stages or training.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.tamiyo_policy.hosts.slots import Operator


@dataclass(frozen=True)
class SeedSetting:
    """What the slots of E networks hold, all [E, K]."""

    blueprint: NDArray[np.int64]
    """int64, id of the module; -1 where nothing is computed."""
    alpha: NDArray[np.float32]
    """float32 in [0, 1], share of the module in the forward pass."""
    operator: NDArray[np.int64]
    """int64, an `Operator`."""
    straight_through: NDArray[np.bool_]
    """bool, no effect on the output, but the module gets the gradient it would have at alpha 1 and passes none on to
    the host."""

    def __post_init__(self) -> None:
        shapes = {self.blueprint.shape, self.alpha.shape, self.operator.shape, self.straight_through.shape}
        if len(shapes) != 1 or self.blueprint.ndim != 2:
            raise ValueError(f"all fields of a setting have one shape [E, K], got {sorted(shapes)}")


@dataclass(frozen=True)
class SlotRoute:
    """What happens at one slot."""

    parents: Tensor | None
    """[R_out] int64, the row that each row continues; None where rows stay as they are."""
    networks: Tensor | None
    """[R_out] int64, whose parameters a row uses after the slot; None where row r is network r."""
    rows: Tensor
    """[n] int64, rows that a module adds to, ordered by blueprint."""
    inputs: Tensor
    """[n] int64, rows before the slot that the modules read."""
    modules: Tensor
    """[n] int64, networks whose modules these are."""
    groups: tuple[tuple[int, int], ...]
    """Blueprint id and count of consecutive entries of `rows`."""
    operators: tuple[tuple[Operator, Tensor], ...]
    """Operator and positions in `rows`, without `ADD`."""
    alpha: Tensor
    """[n, 1, 1, 1], share of the residual in the output; 1 where it passes straight through."""
    straight_through: Tensor | None
    """bool [n, 1, 1, 1], rows to which nothing is added, whose residual gets the whole gradient, and that pass none on
    to their input; None for none."""


def training_routes(setting: SeedSetting, device: torch.device) -> list[SlotRoute]:
    """Return the routes of a pass in which row e is network e as it stands.

    Args:
        setting: [E, K].
        device: device of the routes' tensors.

    Returns:
        One route for each slot.
    """
    rows = np.arange(len(setting.alpha))
    routes = []
    for slot in range(setting.alpha.shape[1]):
        alpha, through = setting.alpha[:, slot], setting.straight_through[:, slot]
        used = (setting.blueprint[:, slot] >= 0) & (through | (alpha > 0))
        routes.append(_route(setting, slot, rows[used], rows, rows, alpha, through, device, shared=None))
    return routes


def evaluation_routes(
    setting: SeedSetting, networks: NDArray[np.int64], alpha: NDArray[np.float32], device: torch.device
) -> tuple[Tensor, list[SlotRoute], Tensor]:
    """Return the routes of a pass that evaluates networks under other alphas than their own.

    Args:
        setting: [E, K]; its alphas are ignored.
        networks: [N] int64, network of each wanted result.
        alpha: [N, K] float32, alphas of each wanted result.
        device: device of the routes' tensors.

    Returns:
        networks [R_0] of the rows that the pass begins with, one route for each slot, and [N] int64, the final row of
        each wanted result.
    """
    key = np.concatenate([networks[:, None].astype(np.float64), alpha], axis=1)
    _, first, inverse = np.unique(networks, return_index=True, return_inverse=True)
    start = torch.from_numpy(networks[first]).to(device)
    routes = []
    for slot in range(alpha.shape[1]):
        _, first, found = np.unique(key[:, : slot + 2], axis=0, return_index=True, return_inverse=True)
        parents, inverse = inverse[first], found.reshape(-1)
        row_networks, row_alpha = networks[first], alpha[first, slot]
        used = (setting.blueprint[row_networks, slot] >= 0) & (row_alpha > 0)
        through = np.zeros(len(first), np.bool_)
        rows = np.arange(len(first))
        route = _route(setting, slot, rows[used], parents, row_networks, row_alpha, through, device, shared=parents)
        routes.append(route)
    return start, routes, torch.from_numpy(inverse).to(device)


def _route(
    setting: SeedSetting,
    slot: int,
    used: NDArray[np.int64],
    parents: NDArray[np.int64],
    networks: NDArray[np.int64],
    alpha: NDArray[np.float32],
    through: NDArray[np.bool_],
    device: torch.device,
    *,
    shared: NDArray[np.int64] | None,
) -> SlotRoute:
    """Return one route; `used` are the rows a module adds to, `shared` the parents unless rows stay as they are."""
    blueprint = setting.blueprint[networks[used], slot]
    order = np.argsort(blueprint, kind="stable")
    used, blueprint = used[order], blueprint[order]
    kinds, counts = np.unique(blueprint, return_counts=True)
    operator = setting.operator[networks[used], slot]
    places = {kind: np.flatnonzero(operator == kind) for kind in (Operator.MULTIPLY, Operator.GATE)}

    def send(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    share = np.where(through[used], 1.0, alpha[used]).astype(np.float32)
    return SlotRoute(
        parents=None if shared is None else send(shared),
        networks=None if shared is None else send(networks),
        rows=send(used),
        inputs=send(parents[used]),
        modules=send(networks[used]),
        groups=tuple(zip(kinds.tolist(), counts.tolist(), strict=True)),
        operators=tuple((kind, send(at)) for kind, at in places.items() if len(at)),
        alpha=send(share.reshape(-1, 1, 1, 1)),
        straight_through=send(through[used].reshape(-1, 1, 1, 1)) if through[used].any() else None,
    )
