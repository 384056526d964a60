"""The stages of the growth experiments, in the order of the work."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Names of the stages' folders."""

    EVERY_TOPOLOGY = "1-every-topology"
    BEST_TOPOLOGIES = "2-best-topologies"
    POLICIES = "3-policies-and-evaluation"
    LARGER_HOST = "4-larger-host"


class HeadroomStage(StrEnum):
    """Names of the stages' folders where the bounds of a growth problem are measured before anything is trained."""

    SCHEDULES = "1-search-for-a-schedule"
    SCREENING = "2-oracle-screens-topologies"
    ORACLE = "3-oracle-plays-schedules"
    PROBES = "4-search-for-a-probing-rule"
    RULES = "5-rules"
    POLICIES = "6-policies"
    PLAYED = "7-policies-play"
    RIVALS = "8-methods-of-the-field"


class StudentStage(StrEnum):
    """Names of the stages' folders where the shop's student grows; demonstrations are the shop's own first stage."""

    DECISIONS = "2-decisions"
    POLICIES = "3-policies"
    STUDENTS = "4-students"
