"""Growth methods of the field in the growth problem: which are played how, and what is left after a kill."""

from __future__ import annotations

from pathlib import Path

from experiments.growth.playing import _play
from experiments.growth.problem import HeadroomSettings, problems_from
from experiments.growth.rivals import rival_text
from sightline.tamiyo_policy.experiment import Rival

SMOKE = HeadroomSettings.model_validate({**HeadroomSettings.SMOKE, "stack": 1})


def test_a_job_that_was_killed_between_stacks_goes_on_and_ends_with_the_same_file(tmp_path: Path) -> None:
    problems = problems_from(SMOKE, 0, 2)
    plays = [(problem, Rival(name, parameters=60.0)) for name in ("GradMax", "AutoGrow") for problem in problems]
    plays.sort(key=lambda play: play[0].shape)  # as a job gets them
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
    _play(SMOKE, plays, True, whole)
    rows = whole.read_bytes().splitlines(keepends=True)
    assert len(rows) == 4
    torn.write_bytes(rows[0] + rows[1][:40])
    _play(SMOKE, plays, True, torn)
    assert torn.read_bytes() == whole.read_bytes()


def test_it_is_said_when_a_method_grows() -> None:
    ways = [Rival("Net2Net", 0.0), Rival("Firefly", 2 / 3), Rival("AutoGrow")]
    assert [rival_text(way) for way in ways] == [
        "Net2Net before the first step",
        "Firefly over the first 67 %",
        "AutoGrow at a pace of its own",
    ]
