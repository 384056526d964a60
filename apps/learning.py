"""What an experiment learns first: the state model, and the student that acts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from settings import Phase1Settings, Phase2Settings

from sightline.agents import Trajectory
from sightline.agents.reading import ChunkScorer
from sightline.agents.runs import RunDirectory, write_metrics
from sightline.agents.state import NextActionMetrics, RecurrentStateModel, train_next_action
from sightline.agents.student import PACKAGED_STUDENT, student_examples, train_student
from sightline.retrieval import CachedEncoder


def state_model(
    settings: Phase1Settings, run: RunDirectory, episodes: Sequence[Trajectory], encoder: CachedEncoder
) -> tuple[RecurrentStateModel, list[NextActionMetrics]]:
    """The recurrent state model, trained to predict the type of the expert's next action, and its history."""

    def compute(folder: Path) -> None:
        result = train_next_action(episodes, encoder, settings.state_model, settings.next_action)
        result.model.save_pretrained(folder)
        write_metrics(folder, [asdict(epoch) for epoch in result.metrics])
        encoder.save()

    folder = run.stage("2-state-model", compute)
    history = [NextActionMetrics(**row) for row in read_metrics(folder)]
    return RecurrentStateModel.from_pretrained(folder), history


def student(
    settings: Phase2Settings,
    run: RunDirectory,
    episodes: Sequence[Trajectory],
    encoder: CachedEncoder,
    scorers: Sequence[ChunkScorer],
) -> str | Path:
    """The language model that acts: the one asked for, the packaged student, or one trained here.

    Args:
        settings: of the experiment.
        run: where a trained one is kept.
        episodes: demonstrations to learn from.
        encoder: whose new embeddings are saved with the student.
        scorers: what lets chunks through to it; see `student_examples`.
    """
    if settings.model is not None:
        return settings.model
    if settings.student == "packaged":
        return PACKAGED_STUDENT

    def compute(folder: Path) -> None:
        decisions = [
            (situation, situation.expert_action or action)
            for episode in episodes
            for situation, action in episode.situations()
        ]
        examples = student_examples(decisions, settings.student_data, np.random.default_rng(settings.seed), scorers)
        steps = settings.student_training.steps
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task("Student", total=steps)
            train_student(
                examples,
                settings.student_training,
                folder / "model",
                checkpoint=run.path / "student-checkpoint.safetensors",
                command="uv run apps/phase2.py --student train",
                progress=lambda step, _: bar.update(task, completed=step),
            )
        encoder.save()

    return run.stage("5-student", compute) / "model"


def read_metrics(folder: Path) -> list[dict]:
    """The rows of a stage's `metrics.jsonl`."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
