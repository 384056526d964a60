from __future__ import annotations

from pathlib import Path

import pytest

from sightline.jepa import JEPAConfig
from sightline.jepa.commands.config import complete_yaml
from sightline.jepa.commands.main import main


def test_what_is_written_reads_back_and_says_what_every_key_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["config", "--model", "routed"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert JEPAConfig.from_yaml(path) == JEPAConfig(model="routed")
    for section in JEPAConfig.model_fields.values():
        for name in getattr(section.annotation, "model_fields", {}):
            assert f" {name}: " in text
    assert "# Peak learning rate of AdamW." in text


def test_values_that_were_chosen_are_kept(tmp_path: Path):
    config = JEPAConfig.model_validate({"loss": {"temperature": 0.125}, "training": {"epochs": 7}})
    path = tmp_path / "run.yaml"
    path.write_text(complete_yaml(config))
    assert JEPAConfig.from_yaml(path) == config
