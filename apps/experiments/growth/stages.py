"""The stages of the growth experiment, in the order of the work."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Names of the stages' folders."""

    EVERY_TOPOLOGY = "1-every-topology"
    BEST_TOPOLOGIES = "2-best-topologies"
    POLICIES = "3-policies-and-evaluation"
    LARGER_HOST = "4-larger-host"
