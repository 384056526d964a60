from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.agents.selfplay import Board, ConnectFour, NetworkConfig, NetworkEvaluator, NetworkPlayer, TicTacToe
from sightline.agents.selfplay.games.boards import pack
from sightline.agents.selfplay.learning.network import build_network, faster_precision, load_network, save_network
from sightline.retrieval.jsonl import RecordError

GAME = ConnectFour(5, 4)
CONFIG = NetworkConfig.for_game(GAME, channels=8, blocks=1)


def weights(module: Any) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def test_the_network_of_the_experiment_has_as_many_parameters_as_its_layers_by_hand() -> None:
    """Stem 2 * 32 * 9 + 32; four convolutions 32 * 32 * 9 + 32; policy 960 * 6 + 6; value 960 * 64 + 64 and 64 + 1."""
    module = build_network(NetworkConfig.for_game(ConnectFour(6, 5)), 0)
    assert sum(tensor.numel() for tensor in module.parameters()) == 608 + 4 * 9248 + 5766 + 61504 + 65


def test_a_network_is_a_function_of_its_seed_and_leaves_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (weights(build_network(CONFIG, seed)) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_values_lie_within_the_bounds_and_answers_do_not_depend_on_the_batch(random_positions: Any) -> None:
    boards = pack(random_positions(GAME, 0, 40, range(10)))
    evaluator = NetworkEvaluator(build_network(CONFIG, 0), GAME)
    logits, values = evaluator(boards)
    assert logits.shape == (40, 5)
    assert (np.abs(values) <= 1).all()
    alone = evaluator((boards[0][7:8], boards[1][7:8]))
    np.testing.assert_allclose(alone[0][0], logits[7], atol=1e-5)
    rounded = NetworkEvaluator(build_network(CONFIG, 0), GAME, precision="bfloat16")(boards)
    np.testing.assert_allclose(rounded[0], logits, atol=0.05)


def test_a_symmetric_answer_is_the_same_for_the_mirror_image(random_positions: Any) -> None:
    states = random_positions(GAME, 1, 20, range(8))

    def mirrored(stones: int) -> int:
        return sum((stones >> 5 * column & 0b11111) << 5 * (4 - column) for column in range(5))

    evaluator = NetworkEvaluator(build_network(CONFIG, 0), GAME, symmetric=True)
    logits, values = evaluator(pack(states))
    flipped, same = evaluator(pack([Board(*(mirrored(stones) for stones in state)) for state in states]))
    np.testing.assert_allclose(flipped[:, ::-1], logits, atol=1e-5)
    np.testing.assert_allclose(same, values, atol=1e-5)


def test_a_player_survives_its_folder_and_plays_the_same(tmp_path: Path, random_positions: Any) -> None:
    player = NetworkPlayer(build_network(CONFIG, 3), CONFIG, GAME, simulations=20)
    player.save_pretrained(tmp_path)
    again = NetworkPlayer.from_pretrained(tmp_path, GAME, simulations=20)
    states = random_positions(GAME, 2, 30, range(10))
    first, second = (one.choose(GAME, states, range(30)) for one in (player, again))
    assert first.actions.tolist() == second.actions.tolist()
    assert first.values.tolist() == second.values.tolist()
    thought = NetworkPlayer.from_pretrained(tmp_path, GAME, simulations=1).choose(GAME, states, range(30))
    assert all(action in GAME.legal(state) for state, action in zip(states, thought.actions.tolist(), strict=True))


def test_a_network_that_sees_threats_survives_its_folder_and_a_decisive_player_never_misses_a_win(
    tmp_path: Path, random_positions: Any
) -> None:
    game = ConnectFour(5, 4, threats=True)
    config = NetworkConfig.for_game(game, channels=8, blocks=1)
    assert config.planes == 5
    save_network(build_network(config, 0), config, tmp_path)
    player = NetworkPlayer.from_pretrained(tmp_path, game, simulations=1, decisive=True)
    states = random_positions(game, 4, 150, range(8, 16))
    choices = player.choose(game, states, range(150))
    decided = 0
    for state, action, value in zip(states, choices.actions.tolist(), choices.values.tolist(), strict=True):
        wins = [move for move in game.legal(state) if game.outcome(game.apply(state, move)) in (1, -1)]
        assert not wins or (action in wins and value == 1)
        decided += bool(wins)
    assert 20 < decided < 130


def test_a_folder_of_another_network_is_refused_and_nothing_is_loaded(tmp_path: Path) -> None:
    save_network(build_network(CONFIG, 0), CONFIG, tmp_path)
    with pytest.raises(ValueError, match=r"5 x 4 with 5 actions.*TicTacToe"):
        NetworkPlayer.from_pretrained(tmp_path, TicTacToe())
    with pytest.raises(ValueError, match=r"shown in 2 planes.*threats=True.*shown in 5"):
        NetworkPlayer.from_pretrained(tmp_path, ConnectFour(5, 4, threats=True))
    wider = CONFIG.model_copy(update={"channels": 16})
    (tmp_path / "config.json").write_text(wider.model_dump_json())
    with pytest.raises(ValueError, match=r"blocks.0.first.bias is \(8,\) there and \(16,\) here"):
        load_network(tmp_path)
    (tmp_path / "config.json").write_text('{"columns": 5}')
    with pytest.raises(RecordError, match="rows"):
        load_network(tmp_path)


def test_the_faster_arithmetic_is_one_of_the_two() -> None:
    assert faster_precision(build_network(CONFIG, 0), GAME, 8) in ("float32", "bfloat16")
