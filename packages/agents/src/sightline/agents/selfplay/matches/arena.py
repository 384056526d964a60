"""Matches between two players: paired openings, a sequential verdict, and a journal that survives being killed."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sightline.agents.planning import Game
from sightline.agents.selfplay.games.openings import balanced_openings
from sightline.agents.selfplay.matches.gate import SequentialTest
from sightline.agents.selfplay.matches.match import MatchResult, match_result, pair_score
from sightline.agents.selfplay.matches.playing import GameRecord, Player, play_pairs
from sightline.retrieval.files import atomic_file
from sightline.retrieval.jsonl import RecordError, parse_record

logger = logging.getLogger(__name__)

_REMEDY = "Give another journal, or delete this one to begin anew."
Pair = tuple[GameRecord, GameRecord]


class _Header(BaseModel):
    """Which match a journal belongs to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    candidate: str
    opponent: str
    game: str
    openings: tuple[str, ...]
    seed: int


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    games: tuple[GameRecord, GameRecord]


@dataclass(frozen=True)
class Arena:
    """Where players of one game meet."""

    game: Game[Any]
    """What is played."""
    openings: int | Sequence[Any] = 200
    """How many openings there are, each played with both colours; or the openings themselves."""
    seed: int = 0
    """Seed of openings and players."""
    opening_plies: int = 4
    """Random moves before an opening."""
    batch_pairs: int = 32
    """Pairs that are played in lock step."""

    def compare(
        self,
        candidate: Player,
        opponent: Player,
        *,
        win_threshold: float = 0.55,
        sequential: bool = True,
        journal: Path | None = None,
    ) -> MatchResult:
        """Play until it is clear whether the candidate is better, or the openings run out.

        Args:
            candidate: the player in question.
            opponent: the one it is measured against.
            win_threshold: score of a candidate worth having; the test's other hypothesis is 1/2.
            sequential: whether to stop at the verdict; otherwise all openings are played.
            journal: a JSON Lines file of finished pairs, from which a killed match goes on.

        Raises:
            ValueError: there are fewer distinct openings than asked for, or the journal is that of another match.
        """
        names, test = (candidate.name, opponent.name), SequentialTest(at_least=win_threshold)
        pairs = self._play(candidate, opponent, test if sequential else None, journal)
        return match_result(names, pairs, test, seed=self.seed, sequential=sequential)

    def play(self, first: Player, second: Player, *, journal: Path | None = None) -> list[Pair]:
        """Play all openings; see `compare`."""
        return self._play(first, second, None, journal)

    def _play(self, first: Player, second: Player, test: SequentialTest | None, journal: Path | None) -> list[Pair]:
        """Play until a test has decided, or all openings."""
        openings = self._openings()
        names = (first.name, second.name)
        pairs = self._read(journal, names, openings) if journal else []
        while len(pairs) < len(openings):
            if test is not None and test.decide([pair_score(pair) for pair in pairs])[0] != "undecided":
                break
            numbers = range(len(pairs), min(len(pairs) + self.batch_pairs, len(openings)))
            played = play_pairs(
                first, second, self.game, [(number, openings[number]) for number in numbers], seed=self.seed
            )
            if journal:
                _append(journal, played)
            pairs += played
            logger.info("%s against %s: %d pairs", *names, len(pairs))
        return pairs

    def _openings(self) -> list[Any]:
        if isinstance(self.openings, int):
            return balanced_openings(self.game, self.openings, plies=self.opening_plies, seed=self.seed)
        distinct = {self.game.key(state) for state in self.openings}
        if len(distinct) < len(self.openings):
            raise ValueError(
                f"{len(self.openings)} openings were given and {len(distinct)} of them are distinct; games from the "
                "same opening are the same games: give distinct ones"
            )
        return list(self.openings)

    def _read(self, path: Path, names: tuple[str, str], openings: list[Any]) -> list[Pair]:
        """Return the finished pairs of a journal, which is made where it is missing."""
        header = _Header(
            candidate=names[0],
            opponent=names[1],
            game=repr(self.game),
            openings=tuple(repr(self.game.key(state)) for state in openings),
            seed=self.seed,
        )
        if not path.exists():
            with atomic_file(path) as file:
                file.write(header.model_dump_json().encode() + b"\n")
            return []
        lines = path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            os.truncate(path, path.stat().st_size - len(lines.pop()))
        if not lines:
            raise RecordError(f"{path} is empty. {_REMEDY}")
        found = parse_record(_Header, lines[0], where=f"{path}, line 1", remedy=_REMEDY)
        if found != header:
            different = [name for name in _Header.model_fields if getattr(found, name) != getattr(header, name)]
            raise ValueError(f"{path} is the journal of another match: {', '.join(different)} differ. {_REMEDY}")
        pairs = [
            parse_record(_Line, line, where=f"{path}, line {number}", remedy=_REMEDY).games
            for number, line in enumerate(lines[1:], start=2)
        ]
        if [pair[0].opening for pair in pairs] != list(range(len(pairs))):
            raise RecordError(f"{path} does not hold the openings in order. {_REMEDY}")
        return pairs


def _append(path: Path, pairs: Sequence[Pair]) -> None:
    """Add finished pairs; when this returns, they are on disk."""
    with path.open("ab") as file:
        for pair in pairs:
            file.write(_Line(games=pair).model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
