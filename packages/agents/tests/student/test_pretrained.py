from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from sightline.agents.student.config import StudentTrainingConfig
from sightline.agents.student.pretrained import model_card, save_pretrained
from sightline.agents.student.records import StudentReport

REPORT = StudentReport(
    parameters=1234567, examples=8901, longest=9, steps=2345, tokens=6789012, precision="bfloat16", losses=(1.5, 0.25)
)
CONFIG = StudentTrainingConfig(seed=7, batch_size=13)


class Tokenizer:
    """Saves one file, or fails to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def save_pretrained(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")
        if self.error:
            raise self.error


def save(folder: Path, tokenizer: Any) -> None:
    shape = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    save_pretrained(folder, LlamaForCausalLM(shape), tokenizer, "the card", REPORT)


def test_a_card_has_metadata_and_says_how_the_student_was_made() -> None:
    _, metadata, text = model_card("adventure", CONFIG, REPORT, "train --seed 7").split("---\n", 2)
    assert yaml.safe_load(metadata) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["sightline", "web-agent", "adventure"],
    }
    for said in ("of the task adventure", "1,234,567 parameters", "8,901 decisions", "`train --seed 7` with seed 7"):
        assert said in text
    assert "6,789,012 tokens in 2,345 steps of 13 examples" in text
    assert "bfloat16" in text
    assert "1.5, 0.25" in text
    assert CONFIG.model_dump_json(indent=2) in text


def test_a_card_without_a_command_names_the_seed_alone() -> None:
    assert "Made with seed 7." in model_card("adventure", CONFIG, REPORT, None)


def test_the_folder_holds_model_tokenizer_card_and_report(tmp_path: Path) -> None:
    save(tmp_path / "new" / "student", Tokenizer())
    folder = tmp_path / "new" / "student"
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "report.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert (folder / "README.md").read_text() == "the card"
    assert StudentReport.model_validate_json((folder / "report.json").read_bytes()) == REPORT
    assert [path.name for path in folder.parent.iterdir()] == ["student"]


def test_a_disk_that_fails_leaves_no_student_and_the_next_attempt_succeeds(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk is full"):
        save(tmp_path / "student", Tokenizer(OSError("the disk is full")))
    assert not (tmp_path / "student").exists()
    save(tmp_path / "student", Tokenizer())
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
