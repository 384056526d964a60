"""Reasoners by their configuration."""

from __future__ import annotations

from pathlib import Path

from sightline.agents.reasoning.config import HRMConfig, PlainConfig, TRMConfig
from sightline.agents.reasoning.models.baseline import PlainNetwork
from sightline.agents.reasoning.models.hrm import HRM
from sightline.agents.reasoning.models.pretrained import read_config
from sightline.agents.reasoning.models.trm import TRM


def make_reasoner(config: TRMConfig | HRMConfig | PlainConfig) -> TRM | HRM | PlainNetwork:
    """Return a model with initial weights."""
    if isinstance(config, TRMConfig):
        return TRM(config)
    return HRM(config) if isinstance(config, HRMConfig) else PlainNetwork(config)


def load_reasoner(folder: Path | str) -> TRM | HRM | PlainNetwork:
    """Return the model that a folder holds, whichever kind it is.

    Raises:
        FileNotFoundError: the folder holds no model.
        RecordError: it is damaged.
    """
    kinds = {"trm": TRM, "hrm": HRM, "plain": PlainNetwork}
    return kinds[read_config(Path(folder)).kind].from_pretrained(folder)
