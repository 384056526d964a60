"""The vocabulary of growing: operations on slots, their parameters, and the ids of the modules a slot can hold.

Plain numbers, which agree with the columns of an action.
"""

from __future__ import annotations

from enum import IntEnum

NOOP = 0
ATTENTION = 2
NORM = 3
DEPTHWISE = 4
LORA = 8
MLP_SMALL = 10
MLP = 11
NUM_BLUEPRINTS = 13
"""Size of the growth experiment's blueprint head, noop (0, never legal) included."""


class Op(IntEnum):
    """What to do with the chosen slot."""

    WAIT = 0
    GERMINATE = 1
    SET_ALPHA_TARGET = 2
    PRUNE = 3
    FOSSILIZE = 4
    ADVANCE = 5


class Style(IntEnum):
    """Curve and operator with which a seed is blended into its host."""

    LINEAR_ADD = 0
    LINEAR_MULTIPLY = 1
    SIGMOID_ADD = 2
    GATED_GATE = 3


class Tempo(IntEnum):
    """Length of the first ramp of alpha, chosen at germination."""

    FAST = 0
    STANDARD = 1
    SLOW = 2


class AlphaTarget(IntEnum):
    """Where alpha should go: 0.5, 0.7 or 1."""

    HALF = 0
    SEVEN_TENTHS = 1
    FULL = 2


class AlphaSpeed(IntEnum):
    """Length of a later ramp of alpha, up, down or to nothing."""

    INSTANT = 0
    FAST = 1
    STANDARD = 2
    SLOW = 3


class AlphaCurve(IntEnum):
    """Shape of a later ramp of alpha."""

    LINEAR = 0
    COSINE = 1
    SIGMOID_GENTLE = 2
    SIGMOID = 3
    SIGMOID_SHARP = 4
