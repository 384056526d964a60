from __future__ import annotations

import pytest

from experiments.reasoning.puzzles.ablations import BASE, VARIANTS, ablation_trials
from experiments.reasoning.puzzles.comparison import comparison_trials
from experiments.reasoning.settings import ReasoningSettings
from lab.settings import parse_settings


def test_full_and_smoke_change_what_they_say_and_flags_win() -> None:
    default, smoke, full = (parse_settings(ReasoningSettings, flags) for flags in ([], ["--smoke"], ["--full"]))
    assert [settings.name for settings in (default, smoke, full)] == ["default", "smoke", "full"]
    assert full.puzzles.harder == ("sudoku-9-30-36", "maze-10")
    assert set(full.only) - set(default.only) == {"teaching"}
    assert smoke.puzzles.task == "sudoku-4"
    assert parse_settings(ReasoningSettings, ["--full", "--puzzles.minutes", "2"]).puzzles.minutes == 2
    assert parse_settings(ReasoningSettings, ["--only", "puzzles", "hybrid"]).only == ("puzzles", "hybrid")


def test_a_run_is_known_by_what_it_computes_and_not_by_what_it_shows() -> None:
    one, two = (parse_settings(ReasoningSettings, flags) for flags in (["--only", "puzzles"], ["--workers", "1"]))
    assert one.identity() == two.identity()


def test_an_unknown_experiment_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(ReasoningSettings, ["--only", "nonsense"])
    assert "nonsense" in capsys.readouterr().err


def test_trials_have_folders_of_their_own_and_differ_from_trm_by_what_their_name_says() -> None:
    settings = parse_settings(ReasoningSettings, ["--full"])
    for trials in (comparison_trials(settings.puzzles), ablation_trials(settings)):
        assert len({trial.folder for trial in trials}) == len(trials)
    base = next(trial for trial in ablation_trials(settings) if trial.method == BASE)
    for trial in ablation_trials(settings):
        changed = {
            name
            for part in ("model", "trainer")
            for name, value in getattr(trial, part)
            if value != getattr(getattr(base, part), name)
        }
        model, trainer = VARIANTS.get(trial.method, ({}, {}))
        assert changed == set(model) | set(trainer)
