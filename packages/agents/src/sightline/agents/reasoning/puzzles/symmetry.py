"""Keys of symmetry classes of Sudoku: the smallest image where all can be tried, colour refinement where not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 5


def smallest_images(inputs: NDArray[np.int64], images: NDArray[np.int64], side: int) -> list[bytes]:
    """Return the lexicographically smallest image of each puzzle, empty cells first, digits relabelled as they come.

    Args:
        inputs: puzzles, [B, L], 0 for an empty cell; L at most 62.
        images: rearrangements of the cells, [S, L].
        side: number of digits.
    """
    weights = 1 << np.arange(images.shape[1] - 1, -1, -1, dtype=np.int64)
    keys = []
    for puzzle in inputs:
        # The pattern of clues decides first, so that few images are left to be relabelled.
        patterns = (puzzle != 0)[images] @ weights
        candidates = np.unique(puzzle[images[patterns == patterns.min()]], axis=0)
        relabelled = _relabelled(candidates, side)
        keys.append(min(row.tobytes() for row in relabelled))
    return keys


def _relabelled(puzzles: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
    """Return puzzles whose digits are numbered in the order of their first cells."""
    found = puzzles[:, :, None] == np.arange(1, side + 1)
    first = np.where(found.any(axis=1), found.argmax(axis=1), puzzles.shape[1])
    rank = first.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable") + 1
    labels = np.concatenate([np.zeros((len(puzzles), 1), dtype=np.int64), rank], axis=1)
    return np.take_along_axis(labels, puzzles, axis=1).astype(np.uint8)


def refined_keys(inputs: NDArray[np.int64], side: int) -> list[bytes]:
    """Return 16 bytes for each Sudoku of square boxes that depend on nothing that a symmetry changes.

    Colours of cells, lines, bands, boxes and digits are refined by each other's sums (Weisfeiler and Leman). Images
    always share the key; two puzzles that are no images share it only where refinement cannot tell them apart, which
    for a division into parts merely keeps them together.
    """
    upright = _refined(inputs, side)
    lying = _refined(inputs.reshape(-1, side, side).transpose(0, 2, 1).reshape(inputs.shape), side)
    return [
        int(low).to_bytes(8, "little") + int(high).to_bytes(8, "little")
        for low, high in zip(np.minimum(upright, lying), np.maximum(upright, lying), strict=True)
    ]


def _refined(inputs: NDArray[np.int64], side: int) -> NDArray[np.uint64]:
    """Return one colour for each puzzle, [B], rows and columns not being exchangeable."""
    thick = round(side**0.5)
    boxes = (len(inputs), thick, thick, thick, thick)  # band, row in it, stack, column in it
    given = inputs != 0
    colours = _mixed(given.astype(np.uint64))
    member = (inputs[:, :, None] == np.arange(1, side + 1)).astype(np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2 ** 64 on purpose
        for _ in range(_ROUNDS):
            grid = colours.reshape(boxes)
            row = _mixed(grid.sum(axis=(3, 4), keepdims=True), 1)
            column = _mixed(grid.sum(axis=(1, 2), keepdims=True), 2)
            box = _mixed(grid.sum(axis=(2, 4), keepdims=True), 3)
            band = _mixed(row.sum(axis=2, keepdims=True), 4)
            stack = _mixed(column.sum(axis=4, keepdims=True), 5)
            digit = _mixed(np.einsum("bl,bld->bd", colours, member), 6)
            own = np.where(given, np.take_along_axis(digit, np.maximum(inputs - 1, 0), axis=1), np.uint64(7))
            lines = row + _mixed(band, 8) + column * np.uint64(3) + _mixed(stack, 9) * np.uint64(5) + _mixed(box, 10)
            colours = _mixed(colours * np.uint64(11) + lines.reshape(inputs.shape) + _mixed(own, 12))
        return _mixed(colours.sum(axis=1), 13)


def _mixed(values: NDArray[np.uint64], salt: int = 0) -> NDArray[np.uint64]:
    """Return well-mixed 64-bit numbers (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64((0x9E3779B97F4A7C15 * (salt + 1)) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
