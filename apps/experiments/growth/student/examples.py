"""What the student learns and is judged on: decisions of an expert in the shop, in tokens, by split and goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from experiments.growth.stages import StudentStage
from experiments.growth.student.settings import GrownStudentSettings
from lab.run import RunDirectory
from sightline.agents import Trajectory
from sightline.agents.actors import PackedPrompt
from sightline.agents.grammar import webshop_grammar
from sightline.agents.student import encode_examples, student_examples, train_tokenizer, value_targets
from sightline.retrieval.jsonl import read_jsonl, write_jsonl

_FILE: Final = "decisions.jsonl"


class EncodedDecision(BaseModel):
    """A prompt with its candidates in tokens, and what is to be learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    split: str
    """Name of the split, "train", "dev" or "test"."""
    goal: int
    """Number of the goal."""
    prompt: list[int]
    """Tokens of the prompt."""
    candidates: list[list[int]]
    """Tokens of each candidate."""
    target: list[float]
    """Distribution over the candidates; the largest values are the best actions."""


Decision = tuple[PackedPrompt, Tensor]
"""Prompt and candidates in tokens, and the distribution to learn."""


class StudentData(NamedTuple):
    """Decisions to learn, to validate on while growing, and for the final figures."""

    train: list[Decision]
    """Decisions to learn."""
    validation: list[Decision]
    """Decisions of held-out goals, which whoever decides on growth sees the results of."""
    test: list[Decision]
    """Decisions of the test split."""
    goals: list[int]
    """Goal of each decision in `test`."""


def encode_stage(
    settings: GrownStudentSettings, run: RunDirectory, episodes: Mapping[str, Sequence[Trajectory]]
) -> Path:
    """Return the folder with all decisions of the expert in tokens; the tokenizer knows those for training alone."""

    def compute(folder: Path) -> None:
        rng = np.random.default_rng(settings.seed)
        texts = {}
        for split, of_split in episodes.items():
            decisions = [
                (situation, situation.expert_action or action)
                for episode in of_split
                for situation, action in episode.situations()
            ]
            targets = value_targets([each for each, _ in decisions], temperature=settings.value_temperature)
            texts[split] = student_examples(decisions, webshop_grammar, settings.data, rng, own=targets)
        config = settings.student
        known = (text for example in texts["train"] for text in (example.prompt, *example.actions))
        tokenizer = train_tokenizer(known, webshop_grammar.markers, config.vocabulary_size, config.context)
        rows = []
        for split, examples in texts.items():
            goals = [episode.goal for episode in episodes[split] for _ in range(len(episode.steps))]
            encoded = encode_examples(examples, tokenizer, config.context)
            for number, (packed, target) in enumerate(encoded):
                goal = goals[number // settings.data.views]
                tokens = {"prompt": packed.prompt, "candidates": packed.candidates}
                rows.append(EncodedDecision(split=split, goal=goal, target=target.tolist(), **tokens))
        write_jsonl(folder / _FILE, rows)

    return run.stage(StudentStage.DECISIONS, compute)


def read_decisions(folder: Path, validation_decisions: int) -> StudentData:
    """Return what `encode_stage` wrote.

    Args:
        folder: its folder.
        validation_decisions: most decisions for validation.
    """
    rows = read_jsonl(folder / _FILE, EncodedDecision)

    def of(split: str) -> list[Decision]:
        return [
            (PackedPrompt(row.prompt, row.candidates), torch.tensor(row.target)) for row in rows if row.split == split
        ]

    goals = [row.goal for row in rows if row.split == "test"]
    return StudentData(of("train"), of("dev")[:validation_decisions], of("test"), goals)


class Yardsticks(NamedTuple):
    """What can be said of decisions without any student."""

    guessing_loss: float
    """Mean cross-entropy of guessing evenly among the candidates, in nats."""
    guessing_agreement: float
    """Share of decisions at which it takes a best action, as expected."""
    least_loss: float
    """Mean entropy of the targets, below which no loss can be, in nats."""


def yardsticks(decisions: Sequence[Decision]) -> Yardsticks:
    """Return what guessing and knowing the targets would reach on decisions."""
    targets = [target.double() for _, target in decisions]
    return Yardsticks(
        guessing_loss=float(np.mean([np.log(len(target)) for target in targets])),
        guessing_agreement=float(np.mean([float(best_actions(target).double().mean()) for target in targets])),
        least_loss=float(np.mean([float(torch.special.entr(target).sum()) for target in targets])),
    )


def best_actions(target: Tensor) -> Tensor:
    """Return bool [candidates]: those of the largest probability, up to rounding."""
    return target >= target.max() - 1e-6
