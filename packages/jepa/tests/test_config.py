from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from sightline.jepa.config import ConfigError, JEPAConfig

EXAMPLES = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_left_out_has_its_default(tmp_path: Path):
    config = JEPAConfig.from_yaml(written(tmp_path, "training:\n  epochs: 3\n"))
    assert config.training.epochs == 3
    assert config.model_copy(update={"training": JEPAConfig().training}) == JEPAConfig()


def test_an_empty_file_is_the_default(tmp_path: Path):
    assert JEPAConfig.from_yaml(written(tmp_path, "")) == JEPAConfig()


def test_a_configuration_survives_being_written_as_yaml(tmp_path: Path):
    config = JEPAConfig.model_validate({"model": "routed", "loss": {"regression": 0.3}, "ema": {"tau_start": 0.9}})
    assert JEPAConfig.from_yaml(written(tmp_path, yaml.safe_dump(config.model_dump()))) == config


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("predictor:\n  hidden_dimention: 3\n", ["predictor.hidden_dimention", "hidden_dimension", "dropout"]),
        ("training:\n  epochs: none\n", ["training.epochs", "'none'"]),
        ("predictor: [1, 2]\n", ["predictor", "[1, 2]"]),
        ("curriculum:\n  none_start: 0.9\n  wrong_start: 0.3\n", ["curriculum", "must not exceed 1"]),
        ("curriculum:\n  category: 0\n", ["curriculum", "weight above 0"]),
        ("ema:\n  tau_start: 1.0\n", ["ema", "tau_start"]),
        ("model: routed\ntarget: projection\n", ["the whole file", "exact centroids"]),
        ("target: projection\n", ["the whole file", "a map of the sources of its own"]),
        ("training:\n  epochs: 3\n  warmup_epochs: 4\n", ["training", "must not exceed epochs 3"]),
        ("loss:\n  negatives: corpus\n  num_negatives: 8\n", ["the whole file", "needs negatives 'batch'"]),
        ("loss:\n  steering: 1\n", ["the whole file", "model 'scorer'"]),
        ("loss:\n  regression_epochs: 16\n", ["the whole file", "must be below training.epochs 16"]),
        ("- a\n", ["must hold sections"]),
        ("a: [\n", ["not YAML"]),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, told: list[str]):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        JEPAConfig.from_yaml(path)
    for words in (str(path), *told):
        assert words in str(error.value)


def test_a_long_value_is_cut_in_the_message(tmp_path: Path):
    with pytest.raises(ConfigError) as error:
        JEPAConfig.from_yaml(written(tmp_path, f"model: {'x' * 5000}\n"))
    assert len(str(error.value)) < 600


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError):
        JEPAConfig().model = "routed"  # ty: ignore[invalid-assignment]  # the point of the test


def test_there_is_an_example_for_each_model():
    assert [JEPAConfig.from_yaml(path).model for path in EXAMPLES] == ["plain", "routed", "scorer"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid(path: Path):
    assert JEPAConfig.from_yaml(path).predictor.dimension == 384
