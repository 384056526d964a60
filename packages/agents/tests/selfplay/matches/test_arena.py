from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.agents.selfplay import (
    Arena,
    Choices,
    ConnectFour,
    GameRecord,
    MCTSPlayer,
    RandomPlayer,
    Solver,
    SolverPlayer,
    TicTacToe,
    balanced_openings,
)
from sightline.agents.selfplay.matches.playing import play_pairs
from sightline.retrieval.jsonl import RecordError

GAME = ConnectFour(5, 4)


class Fixed:
    """Plays the first legal action; raises or cheats where it is told to."""

    def __init__(self, name: str = "fixed", *, raises_at: Any = None, cheats: bool = False) -> None:
        self.name = name
        self.raises_at, self.cheats = raises_at, cheats
        self.batches: list[int] = []

    def choose(self, game: Any, states: Any, seeds: Any) -> Choices:
        self.batches.append(len(states))
        if self.raises_at is not None and any(state == self.raises_at for state in states):
            raise RuntimeError("no idea")
        actions = [game.max_actions if self.cheats else game.legal(state)[0] for state in states]
        return Choices(np.array(actions), np.full(len(actions), 0.25))


def test_openings_are_distinct_reachable_and_fair() -> None:
    openings = balanced_openings(GAME, 60, plies=4, seed=0)
    assert len(set(openings)) == 60
    assert openings == balanced_openings(GAME, 60, plies=4, seed=0)
    assert openings != balanced_openings(GAME, 60, plies=4, seed=1)
    for state in openings:
        assert (state.mover | state.other).bit_count() == 4
        assert state.mover.bit_count() == 2
        assert not any(GAME.outcome(GAME.apply(state, action)) for action in GAME.legal(state))
    solver = Solver(GAME)
    drawn = balanced_openings(GAME, 20, plies=4, seed=0, is_fair=lambda state: solver.solve(state).score == 0)
    assert all(solver.solve(state).score == 0 for state in drawn)


def test_more_openings_than_there_are_is_an_error_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="10 distinct openings of 1 plies were asked for and 9 found"):
        balanced_openings(TicTacToe(), 10, plies=1, seed=0, max_imbalance=1.0)
    with pytest.raises(ValueError, match="2 openings were given and 1 of them are distinct"):
        Arena(GAME, openings=[GAME.initial()] * 2).compare(Fixed(), RandomPlayer())
    with pytest.raises(ValueError, match="max_imbalance"):
        balanced_openings(GAME, 1, plies=1, seed=0, max_imbalance=2.0)


def test_every_opening_is_played_with_both_colours_and_the_records_replay() -> None:
    openings = list(enumerate(balanced_openings(GAME, 10, plies=3, seed=0)))
    pairs = play_pairs(Fixed(), RandomPlayer(), GAME, openings, seed=0)
    assert [(one.opening, one.first_to_move, two.first_to_move) for one, two in pairs] == [
        (number, True, False) for number in range(10)
    ]
    for pair, (_, state) in zip(pairs, openings, strict=True):
        for record in pair:
            now, firsts = state, record.first_to_move
            colour = GAME.to_move(state) if record.first_to_move else 1 - GAME.to_move(state)
            for action in record.moves:
                if firsts:
                    assert action == GAME.legal(now)[0]
                now, firsts = GAME.apply(now, action), not firsts
            outcome = GAME.outcome(now)
            assert outcome is not None
            assert record.result == (outcome if colour == 0 else -outcome)
            assert record.plies == len(record.moves)
            assert record.values == (0.25, None)


def test_swapping_the_players_mirrors_the_result() -> None:
    openings = list(enumerate(balanced_openings(GAME, 12, plies=3, seed=1)))
    one, two = MCTSPlayer(30), MCTSPlayer(10, evaluator="uniform")
    forth = play_pairs(one, two, GAME, openings, seed=5)
    back = play_pairs(two, one, GAME, openings, seed=5)
    for (a, b), (c, d) in zip(forth, back, strict=True):
        assert (a.moves, b.moves) == (d.moves, c.moves)
        assert (a.result, b.result) == (-d.result, -c.result)


def test_an_opening_s_games_do_not_depend_on_what_is_played_beside_them() -> None:
    openings = list(enumerate(balanced_openings(GAME, 8, plies=3, seed=1)))
    players = MCTSPlayer(20), MCTSPlayer(10)
    together = play_pairs(*players, GAME, openings, seed=5)
    alone = play_pairs(*players, GAME, openings[6:7], seed=5)
    assert [record.moves for record in together[6]] == [record.moves for record in alone[0]]


def test_a_player_that_raises_loses_that_game_and_the_others_count() -> None:
    openings = balanced_openings(GAME, 8, plies=3, seed=0)
    pairs = play_pairs(Fixed(raises_at=openings[3]), Fixed("other"), GAME, list(enumerate(openings)), seed=0)
    games = [record for pair in pairs for record in pair]
    wrong = [record for record in games if record.error is not None]
    assert len(wrong) == 1
    assert wrong[0].opening == 3
    assert wrong[0].error_by == 0
    assert wrong[0].result == -1
    assert "RuntimeError('no idea')" in str(wrong[0].error)
    clean = play_pairs(Fixed(), Fixed("other"), GAME, list(enumerate(openings)), seed=0)
    for before, after in zip(games, (record for pair in clean for record in pair), strict=True):
        if before.error is None:
            assert before.moves == after.moves


def test_an_illegal_move_is_an_error_of_who_made_it_and_is_recorded() -> None:
    arena = Arena(GAME, openings=10)
    result = arena.compare(Fixed(), Fixed("cheat", cheats=True))
    assert result.errors == (0, result.eval_games)
    assert result.verdict == "errors"
    assert not result.is_better
    [(one, _)] = play_pairs(Fixed("cheat", cheats=True), Fixed(), GAME, [(0, GAME.initial())], seed=0)
    assert one.moves == (GAME.max_actions,)
    assert one.result == -1


def test_players_are_asked_for_all_games_at_once() -> None:
    player = Fixed()
    Arena(GAME, openings=32, batch_pairs=32).compare(player, RandomPlayer())
    assert player.batches[0] == 32


def test_a_match_says_what_its_games_say() -> None:
    arena = Arena(GAME, openings=40, seed=3)
    result = arena.compare(MCTSPlayer(50), RandomPlayer(), sequential=False)
    assert result.eval_games == 80
    assert result.wins + result.losses + result.draws == 80
    assert result.win_rate.value == pytest.approx((result.wins + result.draws / 2) / 80)
    assert sum(result.pentanomial) == 40
    assert sum(n * s for n, s in zip(result.pentanomial, (0, 0.25, 0.5, 0.75, 1), strict=True)) / 40 == pytest.approx(
        result.win_rate.value
    )
    assert result.is_better
    assert result.decided
    assert result.avg_mcts_value[0] is not None
    assert result.avg_mcts_value[0] > 0.2
    assert result.avg_mcts_value[1] is None
    assert str(result).startswith("accept after 80 games: ")
    assert type(result).model_validate_json(result.model_dump_json()) == result
    early = arena.compare(MCTSPlayer(50), RandomPlayer())
    assert early.eval_games < 80
    assert early.verdict == "accept"
    same = arena.compare(RandomPlayer(), RandomPlayer())
    assert same.verdict != "accept"


def test_the_solver_never_loses_a_drawn_opening() -> None:
    solver = Solver(GAME)
    openings = balanced_openings(GAME, 12, plies=4, seed=0, is_fair=lambda state: solver.solve(state).score == 0)
    result = Arena(GAME, openings=openings).compare(SolverPlayer(solver), MCTSPlayer(20), sequential=False)
    assert result.losses == 0
    assert result.wins > 0


def test_perfect_play_is_accepted_within_sixty_games() -> None:
    match = Arena(GAME, openings=30, opening_plies=6).compare(SolverPlayer(Solver(GAME)), RandomPlayer())
    assert match.is_better
    assert match.eval_games <= 60


def test_elo_is_the_logistic_of_the_score_and_infinite_at_its_ends() -> None:
    from sightline.agents.selfplay.matches.match import elo_difference

    estimate, low, high = elo_difference([0.5, 1.0, 0.5, 1.0, 0.75])
    assert estimate == pytest.approx(-400 * np.log10(1 / 0.75 - 1))
    assert low < estimate < high
    assert elo_difference([1.0, 1.0]) == (np.inf,) * 3
    assert elo_difference([0.0, 0.0]) == (-np.inf,) * 3


def test_a_killed_match_goes_on_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    arena = Arena(GAME, openings=20, batch_pairs=4, seed=2)
    players = MCTSPlayer(12), MCTSPlayer(8)
    whole = arena.compare(*players, journal=tmp_path / "whole.jsonl", sequential=False)
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 21
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[:7]) + lines[7][:40])
    again = arena.compare(*players, journal=cut, sequential=False)
    times = {"seconds"}
    assert again.model_dump(exclude=times) == whole.model_dump(exclude=times)

    class Silent(Fixed):
        def choose(self, game: Any, states: Any, seeds: Any) -> Choices:
            raise AssertionError("all games are in the journal")

    silent = Silent(players[0].name), Silent(players[1].name)
    finished = arena.compare(*silent, journal=cut, sequential=False)
    assert finished.model_dump(exclude=times) == whole.model_dump(exclude=times)


def test_a_journal_of_another_match_or_a_spoilt_one_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "match.jsonl"
    Arena(GAME, openings=4).compare(Fixed(), RandomPlayer(), journal=journal)
    with pytest.raises(ValueError, match="another match: seed"):
        Arena(GAME, openings=Arena(GAME, openings=4)._openings(), seed=1).compare(
            Fixed(), RandomPlayer(), journal=journal
        )
    with pytest.raises(ValueError, match="another match: candidate"):
        Arena(GAME, openings=4).compare(Fixed("new"), RandomPlayer(), journal=journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + lines[2])
    with pytest.raises(RecordError, match="in order"):
        Arena(GAME, openings=4).compare(Fixed(), RandomPlayer(), journal=journal)
    journal.write_bytes(lines[0] + b"{}\n")
    with pytest.raises(RecordError, match="line 2"):
        Arena(GAME, openings=4).compare(Fixed(), RandomPlayer(), journal=journal)
    journal.write_bytes(b"")
    with pytest.raises(RecordError, match="is empty"):
        Arena(GAME, openings=4).compare(Fixed(), RandomPlayer(), journal=journal)


def test_a_record_of_a_game_survives_its_file() -> None:
    record = GameRecord(
        opening=0, first_to_move=True, moves=(1, 2), result=0, plies=2, values=(0.5, None), seconds=(0.1, 0.2)
    )
    assert GameRecord.model_validate_json(record.model_dump_json()) == record
