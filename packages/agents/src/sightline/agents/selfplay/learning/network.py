"""A small residual network for boards, how a search asks it, and how it plays.

PyTorch is imported where it is used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sightline.agents.planning import Game, Method, Search
from sightline.agents.selfplay.games.boards import BoardGame, Boards, pack
from sightline.agents.selfplay.matches.playing import Choices
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import parse_record

if TYPE_CHECKING:
    from torch import nn

_CONFIG_FILE, _WEIGHTS_FILE = "config.json", "model.safetensors"
Precision = Literal["float32", "bfloat16"]
_TIMINGS = 6


class NetworkConfig(BaseModel):
    """Shape of a network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    columns: int = Field(ge=1)
    """Columns of the board."""
    rows: int = Field(ge=1)
    """Rows of the board."""
    actions: int = Field(ge=1)
    """A."""
    planes: int = Field(default=2, ge=2)
    """P, planes of numbers that show a board; see `BoardGame.planes`."""
    channels: int = Field(default=32, ge=1)
    """Channels of every convolution."""
    blocks: int = Field(default=2, ge=0)
    """Residual blocks of two 3 x 3 convolutions."""
    value_width: int = Field(default=64, ge=1)
    """Hidden units before the value."""

    @classmethod
    def for_game(cls, game: BoardGame, *, channels: int = 32, blocks: int = 2) -> NetworkConfig:
        """Return the network of a game's board."""
        columns, rows = game.shape
        planes = game.planes(pack([game.initial()])).shape[1]
        return cls(
            columns=columns, rows=rows, actions=game.max_actions, planes=planes, channels=channels, blocks=blocks
        )


def build_network(config: NetworkConfig, seed: int) -> nn.Module:
    """Return a new network: planes float32 `[n, P, columns, rows]` -> (logits `[n, A]`, value in [-1, 1] `[n]`).

    No normalisation: each block begins as the identity, because its second convolution begins at 0.
    """
    import torch

    from sightline.agents.selfplay.learning.residual import ResidualNetwork

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualNetwork(
            config.columns * config.rows,
            config.actions,
            config.channels,
            config.blocks,
            config.value_width,
            planes=config.planes,
        )


class NetworkEvaluator:
    """Asks a network about boards; see `Evaluator`.

    Args:
        module: network of `build_network`.
        game: whose boards they are.
        device: where the module is.
        precision: "bfloat16" computes under autocast.
        symmetric: answer with the mean over a position and its mirror image.
    """

    def __init__(
        self,
        module: nn.Module,
        game: BoardGame,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
        symmetric: bool = False,
    ) -> None:
        self._module, self._game, self._device = module, game, device
        self._precision: Precision = precision
        self._mirror = game.mirror_actions() if symmetric else None

    def __call__(self, states: Boards) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(logits `[n, A]`, value `[n]`)."""
        planes = self._game.planes(states)
        if self._mirror is None:
            return self._ask(planes)
        number = len(planes)
        logits, values = self._ask(np.concatenate([planes, planes[:, :, ::-1]]))
        return (logits[:number] + logits[number:, self._mirror]) / 2, (values[:number] + values[number:]) / 2

    def _ask(self, planes: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        import torch

        kind = torch.device(self._device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self._precision == "bfloat16"):
            logits, values = self._module(torch.from_numpy(np.ascontiguousarray(planes)).to(self._device))
        return logits.double().cpu().numpy(), values.double().cpu().numpy()


def faster_precision(module: nn.Module, game: BoardGame, batch: int) -> Precision:
    """Return the arithmetic in which a network answers sooner here: a processor's flags do not say.

    Args:
        module: network of `build_network`.
        game: whose boards it is asked about.
        batch: boards at a time.
    """
    boards = pack([game.initial()] * batch)
    evaluators = {precision: NetworkEvaluator(module, game, precision=precision) for precision in get_args(Precision)}
    seconds = dict.fromkeys(evaluators, math.inf)
    for _ in range(_TIMINGS):  # of which the fastest count: other processes slow down some
        for precision, evaluator in evaluators.items():
            started = time.perf_counter()
            evaluator(boards)
            seconds[precision] = min(seconds[precision], time.perf_counter() - started)
    return min(seconds, key=lambda precision: seconds[precision])


class NetworkPlayer:
    """Plays by a search whose leaves a network judges; with one simulation, by the network's first thought alone.

    Args:
        module: network of `build_network`.
        config: its shape.
        game: what it plays.
        simulations: number of simulations of each search.
        method: "puct" or "gumbel".
        symmetric: whether mirror images are averaged, see `NetworkEvaluator`.
        decisive: whether wins at once, and the other side's, are seen by the rules; see `BoardModel`.
        c_init: weight of the network's prior in PUCT; below a search's own default, because a network that has learnt
            from searches already says where to look, and a few dozen simulations are better spent on what is good.
        name: name for tables.
    """

    def __init__(
        self,
        module: nn.Module,
        config: NetworkConfig,
        game: BoardGame,
        *,
        simulations: int = 50,
        method: Method = "puct",
        symmetric: bool = True,
        decisive: bool = False,
        c_init: float = 0.5,
        name: str | None = None,
    ) -> None:
        module.eval()
        self.module, self.config = module, config
        self.name = name or f"network {simulations}"
        self._evaluator = NetworkEvaluator(module, game, symmetric=symmetric)
        self._model = game.model(self._evaluator, decisive=decisive)
        search = Search(simulations=simulations, method=method, ties="random", c_init=c_init)
        self._search = search if simulations > 1 else None

    @classmethod
    def from_pretrained(cls, folder: Path | str, game: BoardGame, **settings: Any) -> NetworkPlayer:
        """Return a player with the network of a folder.

        Args:
            folder: folder of `save_pretrained`.
            game: what it plays; the network must be of its board.
            settings: settings of the class.

        Raises:
            ValueError: the network is of another board, or sees it otherwise.
        """
        module, config = load_network(Path(folder))
        wanted = NetworkConfig.for_game(game)
        names = ("columns", "rows", "actions", "planes")
        if any(getattr(config, name) != getattr(wanted, name) for name in names):
            raise ValueError(
                f"{folder} holds a network for {config.columns} x {config.rows} with {config.actions} actions, "
                f"shown in {config.planes} planes, and {game!r} needs one for {wanted.columns} x {wanted.rows} with "
                f"{wanted.actions}, shown in {wanted.planes}"
            )
        return cls(module, config, game, **settings)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write configuration and weights."""
        save_network(self.module, self.config, Path(folder))

    def choose(self, game: Game[Any], states: Sequence[Any], seeds: Sequence[int]) -> Choices:
        """Return the actions of the searches, and the values of their roots."""
        del game
        if self._search is None:
            expansion = self._model.expand(self._model.pack(states))
            return Choices(
                np.where(expansion.legal, expansion.logits, -np.inf).argmax(axis=1),
                np.asarray(expansion.value, np.float64),
            )
        result = self._search.run(self._model, states, seeds=seeds, executor="lockstep")
        return Choices(result.action, result.value)


def save_network(module: nn.Module, config: NetworkConfig, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`."""
    from safetensors.torch import save

    with atomic_file(folder / _WEIGHTS_FILE) as file:
        file.write(save({name: tensor.contiguous() for name, tensor in module.state_dict().items()}))
    with atomic_file(folder / _CONFIG_FILE) as file:
        file.write(config.model_dump_json(indent=2).encode())


def load_network(folder: Path) -> tuple[nn.Module, NetworkConfig]:
    """Read what `save_network` wrote.

    Raises:
        FileNotFoundError: a file is missing.
        RecordError: the configuration is not one.
        ValueError: the weights are of another network.
    """
    from safetensors.torch import load

    path = folder / _CONFIG_FILE
    config = parse_record(NetworkConfig, path.read_bytes(), where=str(path))
    module = build_network(config, 0)
    load_weights(module, load((folder / _WEIGHTS_FILE).read_bytes()), where=str(folder))
    return module.eval(), config


def load_weights(module: nn.Module, weights: dict[str, Any], *, where: str) -> None:
    """Put weights into a network, all of them or none.

    Raises:
        ValueError: a name or shape differs; the message has the first.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ValueError(f"{where} does not fit: {name} is {found.get(name)} there and {wanted.get(name)} here")
    module.load_state_dict(weights)
