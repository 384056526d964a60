"""The stages of the experiment with teachable moments, in the order of the work."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Names of the stages' folders."""

    WORLD = "01-world"
    STUDENT = "02-student"
    EPISODES = "03-episodes"
    MOMENTS = "04-moments"
    LABELS = "05-labels"
    PATCHES = "06-patches"
    MICRO = "07-micro"
    MATRIX = "08-matrix"
    SUITE = "09-suite"
    PREDICTOR = "10-predictor"
    SELECTION = "11-selection"
    RECOVERY = "12-recovery"
