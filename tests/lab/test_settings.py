"""Settings from defaults, a file and flags, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.settings import RunSettings, parse_settings


class Training(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=10, ge=1)


class Settings(RunSettings):
    """Is tea better than coffee?"""

    SMOKE: ClassVar[Mapping[str, Any]] = {"cups": 2, "phase2": {"epochs": 1}}
    INCIDENTAL: ClassVar[frozenset[str]] = RunSettings.INCIDENTAL | {"threads"}

    cups: int = Field(default=100, ge=1)
    """Cups to drink."""
    threads: int = 2
    """Threads to use."""
    training: Training = Field(default=Training(), alias="phase2")
    """How it is learned."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_flags_win_over_the_file_the_file_over_smoke_and_smoke_over_defaults(file: Path) -> None:
    file.write_text("cups: 3\nname: mine\n")
    assert parse_settings(Settings, []) == Settings()
    smoke = parse_settings(Settings, ["--smoke"])
    assert (smoke.smoke, smoke.name, smoke.cups, smoke.training.epochs, smoke.threads) == (True, "smoke", 2, 1, 2)
    both = parse_settings(Settings, ["--smoke", "--config", str(file)])
    assert (both.name, both.cups, both.training.epochs) == ("mine", 3, 1)
    flags = ["--smoke", f"--config={file}", "--cups", "4", "--training.epochs", "7"]
    assert parse_settings(Settings, flags) == Settings(
        smoke=True, name="mine", config=file, cups=4, training=Training(epochs=7)
    )


def test_a_file_that_asks_for_a_smoke_run_gets_one(file: Path) -> None:
    file.write_text("smoke: true\n")
    assert parse_settings(Settings, ["--config", str(file)]).cups == 2


def test_what_a_run_was_made_with_can_be_given_as_its_settings(file: Path) -> None:
    import yaml

    settings = Settings(cups=7, training=Training(epochs=3), seed=5, name="again")
    file.write_text(yaml.safe_dump(settings.identity()))
    again = parse_settings(Settings, ["--config", str(file)])
    assert again.identity() == settings.identity()
    assert again.cups == 7
    assert again.training.epochs == 3


def test_identity_leaves_out_what_changes_no_result() -> None:
    assert Settings().identity() == {
        "name": "default",
        "smoke": False,
        "seed": 0,
        "cups": 100,
        "phase2": {"epochs": 10},
    }
    elsewhere = Settings(output=Path("elsewhere"), threads=1, config=Path("x.yaml"))
    assert elsewhere.identity() == Settings().identity()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cupps: 3", "cupps: there is no such setting; --help shows all"),
        ("phase2:\n  epoch: 3", "phase2.epoch: there is no such setting"),
        ("cups: 0", "cups: Input should be greater than or equal to 1"),
        ("cups: many", "cups: Input should be a valid integer"),
        ("seed: -1", "seed: Input should be greater than or equal to 0"),
        ("- 1", "expected a mapping of settings, found list"),
        ("", "expected a mapping of settings, found NoneType"),
        ("a: [", "not YAML"),
        ("name: ../up", "a run's name becomes the name of a folder, which '../up' cannot be"),
        ("\udcff", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name_and_the_setting(file: Path, text: str, message: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SystemExit) as ended:
        parse_settings(Settings, ["--config", str(file)])
    assert str(file) in str(ended.value.code)
    assert message in str(ended.value.code)


def test_every_wrong_setting_of_a_file_is_named_at_once(file: Path) -> None:
    file.write_text("cups: 0\nplates: 1\n")
    with pytest.raises(SystemExit) as ended:
        parse_settings(Settings, ["--config", str(file)])
    assert str(ended.value.code).splitlines() == [
        f"{file}: cups: Input should be greater than or equal to 1",
        f"{file}: plates: there is no such setting; --help shows all",
    ]


def test_a_missing_file_and_a_wrong_flag_end_the_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no such file"):
        parse_settings(Settings, ["--config", str(tmp_path / "none.yaml")])
    for flags, message in ((["--cupps", "3"], "--cups"), (["--cups", "0"], "greater than or equal to 1")):
        with pytest.raises(SystemExit) as ended:
            parse_settings(Settings, flags)
        assert ended.value.code != 0
        shown = capsys.readouterr()
        assert message in " ".join((shown.out + shown.err).split())


def test_help_is_the_docstring_and_a_sentence_for_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(Settings, ["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for text in ("Is tea better than coffee?", "Cups to drink.", "Name of the run", "Root of all randomness"):
        assert text in shown


@given(st.text())
def test_a_name_is_refused_exactly_when_it_is_no_single_folder_below_another(name: str) -> None:
    is_one = name not in ("", ".", "..") and "/" not in name
    if is_one:
        assert (Path("runs") / Settings(name=name).name).parent == Path("runs")
    else:
        with pytest.raises(ValidationError, match="name of a folder"):
            Settings(name=name)
