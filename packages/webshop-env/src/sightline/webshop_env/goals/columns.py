"""Goals of a catalogue: columns of numbers, and goals made from them on demand.

The columns of a stored catalogue are files that all processes map, those of one in memory are in memory. The files are
derived: `instructions` decides what a goal is, and a folder that is deleted is made again. Columns by goal, in final
order: `positions` and `numbers` (int32), `caps` (float32: a cap is a multiple of ten), `weights` and
`cumulative_weights` (float64); `prices` (float64) by position of the product.
"""

from __future__ import annotations

import logging
import operator
import random
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, overload

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.catalogue.stored.sealed_folder import (
    Digest,
    Manifest,
    check_digests,
    map_array,
    read_manifest,
    seal,
    whole_folder,
)
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.goals.instructions import (
    GoalKind,
    GoalRow,
    goal_rows,
    make_goal,
    no_goals,
    price_in_force,
    shuffle_goals,
)
from sightline.webshop_env.goals.lists import GoalList
from sightline.webshop_env.product import Goal

logger = logging.getLogger(__name__)

_FOLDER: Final = "goals"
_LONGEST_SEED: Final = 40
_DTYPES: Final = {
    "positions": np.int32,
    "numbers": np.int32,
    "caps": np.float32,
    "weights": np.float64,
    "cumulative_weights": np.float64,
    "prices": np.float64,
}


class GoalsManifest(Manifest):
    """The manifest of a folder of goals."""

    format = "sightline-webshop-goals"
    schema_version = 1

    catalogue: Digest
    """Fingerprint of the catalogue that the goals are of."""
    kind: GoalKind
    """Of the goals."""
    seed: int
    """Seed of prices and caps."""
    goals: Annotated[int, Field(ge=1, lt=1 << 31)]
    """How many."""
    products: Annotated[int, Field(ge=1, lt=1 << 31)]
    """How many the catalogue has."""


@dataclass(frozen=True, eq=False)
class GoalColumns:
    """The numbers of all goals [G] and the prices of all products [N], from files or in memory."""

    positions: npt.NDArray[np.int32]
    """[G] of the product in the catalogue."""
    numbers: npt.NDArray[np.int32]
    """[G] of the instruction or of the combination of options, see `GoalRow`."""
    caps: npt.NDArray[np.float32]
    """[G] highest price allowed, in dollars."""
    weights: npt.NDArray[np.float64]
    """[G] relative probability."""
    cumulative_weights: npt.NDArray[np.float64]
    """[G] running sum of the weights, from left to right."""
    prices: npt.NDArray[np.float64]
    """[N] price in force, in dollars."""
    source: tuple[Path, str] | None = None
    """Folder of the files and fingerprint of the catalogue, to open them again; None in memory."""

    def __reduce__(self) -> tuple[Callable[..., GoalColumns], tuple[Any, ...]]:
        if self.source is not None:
            return GoalColumns.open, self.source
        return GoalColumns, tuple(getattr(self, name) for name in _DTYPES)

    @classmethod
    def open(cls, folder: Path, catalogue: str) -> GoalColumns:
        """Map the files of a folder, which must hold goals of the catalogue of this fingerprint.

        Raises:
            CatalogueError: a file is missing, damaged or not of this catalogue; says what to do.
        """
        try:
            manifest = read_manifest(folder, GoalsManifest)
            lengths = dict.fromkeys(_DTYPES, manifest.goals) | {"prices": manifest.products}
            columns = {name: map_array(folder / f"{name}.npy", _DTYPES[name], (lengths[name],)) for name in _DTYPES}
        except CatalogueError as error:
            raise CatalogueError(f"{error}; delete {folder}, and the goals are made again") from None
        if manifest.catalogue != catalogue:
            raise CatalogueError(f"{folder}: holds goals of another catalogue; delete it, and they are made again")
        return cls(**columns, source=(folder, catalogue))

    @classmethod
    def build(cls, catalogue: Catalogue, kind: GoalKind, seed: int) -> GoalColumns:
        """Make the columns in memory; takes some 60 bytes a goal while it does.

        Raises:
            GoalError: there are no goals of this kind, or too many.
        """
        rng = random.Random(seed)
        prices = array("d", (price_in_force(product, rng) for product in catalogue))
        positions, numbers, caps, weights = array("i"), array("i"), array("f"), array("d")
        for row in goal_rows(catalogue, kind, prices, rng):
            positions.append(row.position)
            numbers.append(row.number)
            caps.append(row.cap)
            weights.append(row.weight)
        if not positions:
            raise no_goals(len(catalogue), kind)
        order = array("i", range(len(positions)))
        shuffle_goals(order)
        shuffled = np.asarray(order)
        weights_in_order = np.asarray(weights)[shuffled]
        return cls(
            positions=np.asarray(positions)[shuffled],
            numbers=np.asarray(numbers)[shuffled],
            caps=np.asarray(caps)[shuffled],
            weights=weights_in_order,
            # NumPy's running sum adds from left to right, one by one, as `accumulate` does.
            cumulative_weights=np.cumsum(weights_in_order),
            prices=np.asarray(prices),
        )

    def write(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write the columns and a manifest with these facts beside the counts."""
        for name in _DTYPES:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        seal(folder, GoalsManifest, {**facts, "goals": len(self.positions), "products": len(self.prices)})


class ColumnGoals(GoalList):
    """Goals of a catalogue, each made when asked for; slices are views.

    Args:
        catalogue: whose goals.
        kind: of the goals.
        columns: what is known of each.
        chosen: which of the columns' goals, in order; all when None.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        kind: GoalKind,
        columns: GoalColumns,
        chosen: range | npt.NDArray[np.int32] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._kind: GoalKind = kind
        self._columns = columns
        self._chosen = range(len(columns.positions)) if chosen is None else chosen
        self._remembered = lru_cache(256)(self._make)

    def __reduce__(self) -> tuple[Callable[..., ColumnGoals], tuple[Any, ...]]:
        return ColumnGoals, (self._catalogue, self._kind, self._columns, self._chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[Goal]:
        return map(self._make, self._chosen)

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> ColumnGoals: ...
    def __getitem__(self, index: int | slice) -> Goal | ColumnGoals:
        if not isinstance(index, slice):
            return self._remembered(int(self._chosen[operator.index(index)]))
        chosen = self._chosen[index]
        if isinstance(chosen, range) and chosen.step != 1:
            chosen = np.array(chosen, dtype=np.int32)
        return ColumnGoals(self._catalogue, self._kind, self._columns, chosen)

    def __repr__(self) -> str:
        return f"<{len(self)} {self._kind} goals of {self._catalogue!r}>"

    @property
    def weights(self) -> Sequence[float]:
        """The goals' weights, without making the goals."""
        return self._select(self._columns.weights).data

    @property
    def cumulative_weights(self) -> Sequence[float]:
        """Running sum of the weights; mapped for all goals, computed once for others."""
        return self._sums.data

    def take(self, indices: Sequence[int]) -> ColumnGoals:
        """Return the goals at some indices, in that order."""
        chosen = np.asarray(self._chosen, dtype=np.int32)[np.asarray(indices, dtype=np.int64)]
        return ColumnGoals(self._catalogue, self._kind, self._columns, chosen)

    @cached_property
    def _sums(self) -> npt.NDArray[np.float64]:
        columns = self._columns
        whole = self._chosen == range(len(columns.positions)) if isinstance(self._chosen, range) else False
        return columns.cumulative_weights if whole else np.cumsum(self._select(columns.weights))

    def _select(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        chosen = self._chosen
        return column[chosen.start : chosen.stop] if isinstance(chosen, range) else column[chosen]

    def _make(self, number: int) -> Goal:
        columns = self._columns
        row = GoalRow(
            columns.positions.item(number),
            columns.numbers.item(number),
            columns.caps.item(number),
            columns.weights.item(number),
        )
        try:
            return make_goal(self._catalogue[row.position], self._kind, row)
        except IndexError:
            where = "the goals in memory" if columns.source is None else columns.source[0]
            raise CatalogueError(
                f"goal {number} of {where} is damaged: it names product {row.position}, number {row.number}; "
                "delete its folder, and the goals are made again"
            ) from None


class ColumnPrices(Mapping[str, float]):
    """asin -> price in force, in dollars.

    Args:
        catalogue: the products.
        columns: hold the prices.
    """

    def __init__(self, catalogue: Catalogue, columns: GoalColumns) -> None:
        self._catalogue = catalogue
        self._columns = columns

    def __len__(self) -> int:
        return len(self._catalogue)

    def __iter__(self) -> Iterator[str]:
        return iter(self._catalogue.asins)

    def __getitem__(self, asin: str) -> float:
        return self._columns.prices.item(self._catalogue.position(asin))


def column_goals(catalogue: Catalogue, kind: GoalKind, seed: int) -> tuple[ColumnGoals, ColumnPrices]:
    """Make the goals of a catalogue and its prices in force, or open those that a stored one has in its folder.

    Of several processes that need the same goals of a stored catalogue, one makes them and the others wait.

    Args:
        catalogue: products and instructions.
        kind: whose instructions.
        seed: seed of prices and caps.

    Raises:
        GoalError: there are no goals of this kind, or too many.
        CatalogueError: the files are damaged; says what to do.
    """
    columns = _columns(catalogue, kind, operator.index(seed))
    return ColumnGoals(catalogue, kind, columns), ColumnPrices(catalogue, columns)


def verify_goals(catalogue_folder: Path) -> None:
    """Compare every file of every folder of goals inside a catalogue's folder with what was written.

    Raises:
        CatalogueError: names the file and says what to do.
    """
    for folder in sorted((catalogue_folder / _FOLDER).glob("[!.]*")):
        try:
            check_digests(folder, read_manifest(folder, GoalsManifest))
        except CatalogueError as error:
            raise CatalogueError(f"{error}; delete {folder}, and the goals are made again") from None


def _columns(catalogue: Catalogue, kind: GoalKind, seed: int) -> GoalColumns:
    if catalogue.folder is None or len(str(seed)) > _LONGEST_SEED:
        return GoalColumns.build(catalogue, kind, seed)
    folder = catalogue.folder / _FOLDER / f"{kind}-{seed}-v{GoalsManifest.schema_version}"
    if not folder.exists():
        built: GoalColumns | None = None
        try:
            with whole_folder(folder, wait=True) as temporary:
                built = GoalColumns.build(catalogue, kind, seed)
                built.write(temporary, {"catalogue": catalogue.fingerprint, "kind": kind, "seed": seed})
        except FileExistsError:
            logger.debug("another process has made %s", folder)
        except OSError as error:
            logger.warning("the goals are made in memory, because %s cannot be written: %s", folder, error)
            return built or GoalColumns.build(catalogue, kind, seed)
    return GoalColumns.open(folder, catalogue.fingerprint)
