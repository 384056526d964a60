from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.webshop_env import Catalogue, Shop
from sightline.webshop_env.commands import play
from sightline.webshop_env.episodes.recording import read_recordings, state_at

Player = Callable[..., int]


@pytest.fixture
def run_play(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Player:
    """Plays typed lines in the shop of the fixtures and returns the exit status."""

    def run(*lines: str, arguments: tuple[str, ...] = ("--goal", "0"), shop: Shop = shop) -> int:
        parser = argparse.ArgumentParser()
        play.add_arguments(parser)
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        monkeypatch.setattr(play, "_make_shop", lambda _: shop)
        monkeypatch.setenv("COLUMNS", "200")
        return play.run(parser.parse_args(arguments))

    return run


def test_a_pipe_plays_an_episode_to_its_reward(run_play: Player, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_play("s desk lamp", "3", "3", "5", "11", "q") == 0
    shown = capsys.readouterr().out
    assert "Reward 1 of 1" in shown
    assert "met    attributes: dimmable" in shown
    assert "(1 of 1 attributes + 2 of 2 options + 1 of 1 price) / 4 × 1 for the kind = 1" in shown


def test_what_was_played_is_saved_with_snapshots(run_play: Player, tmp_path: Path, shop: Shop) -> None:
    path = tmp_path / "played.jsonl"
    assert run_play("s desk lamp", "3", "3", "g 1", "s mug", "q", arguments=("--goal", "0", "--save", str(path))) == 0
    first, second = read_recordings(path)
    assert [step.action for step in first.steps] == ["search[desk lamp]", "click[b0lamp]", "click[red]"]
    assert (first.goal, second.goal, second.agent) == (0, 1, "person")
    assert state_at(shop, first, 3).options == (("color", "red"),)


def test_the_end_of_the_input_saves_too(run_play: Player, tmp_path: Path) -> None:
    path = tmp_path / "played.jsonl"
    assert run_play("s desk lamp", arguments=("--goal", "0", "--save", str(path))) == 0
    assert [len(recording.steps) for recording in read_recordings(path)] == [1]


def test_an_existing_file_is_refused_and_left_alone(
    run_play: Player, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text("kept")
    assert run_play("q", arguments=("--save", str(path))) == 1
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == "kept"


def test_going_back_forgets_the_steps_after_it(shop: Shop) -> None:
    game = play.Game(shop, 0)
    for action in ("search[desk lamp]", "click[b0lamp]", "click[red]"):
        assert game.act(action)
    reached = game.state
    game.go_back(1)
    assert [action for _, action in game.trail] == ["search[desk lamp]"]
    assert game.state.steps == 1
    assert game.act("click[b0lamp]")
    assert game.act("click[red]")
    assert game.state == reached


@pytest.mark.parametrize("typed", ["", "999", "-1", "²", "b 7", "g x", "g 99", "s", "s [", "[bold]hi", "9" * 5000])
def test_a_line_that_means_nothing_costs_no_step(
    run_play: Player, tmp_path: Path, capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    path = tmp_path / "played.jsonl"
    assert run_play("s desk lamp", typed, "q", arguments=("--goal", "0", "--save", str(path))) == 0
    assert [step.action for step in next(read_recordings(path)).steps] == ["search[desk lamp]"]
    assert len(capsys.readouterr().out) < 4000


def test_after_the_end_nothing_can_be_bought_again(run_play: Player, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_play("s desk lamp", "3", "11", "1", "s mug", "b", "q") == 0
    shown = capsys.readouterr().out
    assert shown.count("Reward ") == 1
    assert shown.count("the episode has ended") == 2


def test_at_the_step_limit_only_going_back_helps(
    catalogue: Catalogue, shop: Shop, run_play: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = Shop(catalogue, shop.goals, step_limit=2)
    assert run_play("s desk lamp", "3", "3", "b", "q", shop=limited) == 0
    shown = capsys.readouterr().out
    assert "The step limit is reached" in shown
    assert "the episode has ended" in shown
    assert "(chosen)" not in shown


def test_products_cannot_control_the_terminal(
    catalogue: Catalogue, shop: Shop, run_play: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "Lamp \x1b]0;owned\x07\x1b[2J\x9b31m\u202e[red]marked[/red] :smile: \r\b"
    lamp = replace(catalogue["B0LAMP"], title=hostile, options={hostile.lower(): (hostile.lower(),)})
    evil = Catalogue.from_products([lamp, *(product for product in catalogue if product.asin != "B0LAMP")])
    assert run_play("s lamp", "3", "4", "q", shop=Shop(evil, shop.goals)) == 0
    shown = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert "[red]marked[/red] :smile:" in shown


def test_a_goal_that_is_not_there_is_named(run_play: Player, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_play("q", arguments=("--goal", "3")) == 1
    assert "there is no goal 3: goals are numbered 0 to 2" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_reported(
    run_play: Player, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nowhere").write_text("a file, not a folder")
    path = tmp_path / "nowhere" / "played.jsonl"
    assert run_play("s desk lamp", "q", arguments=("--goal", "0", "--save", str(path))) == 1
    assert "nowhere" in capsys.readouterr().err


def test_actions_are_taken_as_agents_write_them_and_wrong_ones_cost_no_step(
    run_play: Player, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "played.jsonl"
    lines = ("search[desk lamp]", "click[b0lump]", "click[b0lamp]", "click[buy now]", "click[< prev]", "q")
    assert run_play(*lines, arguments=("--goal", "0", "--save", str(path))) == 0
    shown = capsys.readouterr().out
    assert "did you mean click[b0lamp]?" in shown
    assert "the episode has ended" in shown
    (recording,) = read_recordings(path)
    assert [step.action for step in recording.steps] == ["search[desk lamp]", "click[b0lamp]", "click[buy now]"]
