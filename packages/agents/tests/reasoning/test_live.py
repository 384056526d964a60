from __future__ import annotations

import io

import pytest
from rich.console import Console

from sightline.agents.reasoning import TrainerConfig, live_progress


@pytest.mark.parametrize("config", [TrainerConfig(steps=200), TrainerConfig(minutes=2)])
def test_the_latest_figures_and_the_share_done_are_shown(config: TrainerConfig) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with live_progress(config, console) as show:
        show({"kind": "train", "step": 50, "seconds": 30.0, "loss": 1.23456, "cell_accuracy": 0.5})
        show({"kind": "evaluation", "step": 100, "seconds": 60.0, "exact": 0.875})
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "loss 1.2346, cells 50.0%, validation solved 87.5%" in shown
    assert "50%" in shown
