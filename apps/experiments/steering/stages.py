"""The stages of the experiment with steered predictors, in the order of the work."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Names of the stages' folders; the data set, the method and the seed stand behind."""

    DATA = "1-data"
    TRAINING = "2-training"
    SCORES = "3-scores"
    EVIDENCE = "4-evidence"
    EXPLANATIONS = "5-explanations"
