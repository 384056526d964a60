"""What an experiment learns first: the state model, and the student that acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from experiments.shopping.settings import Phase1Settings, Phase2Settings
from experiments.shopping.stages import Stage
from lab.run import RunDirectory, read_metrics, write_metrics
from sightline.agents import LanguageModelActor, Trajectory
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import instruction_similarity
from sightline.agents.state import NextActionMetrics, RecurrentStateModel, train_next_action
from sightline.agents.student import PACKAGED_STUDENT, student_examples, train_student, value_targets
from sightline.retrieval import CachedEncoder


def train_state_model_stage(
    settings: Phase1Settings, run: RunDirectory, episodes: Sequence[Trajectory], encoder: CachedEncoder
) -> tuple[RecurrentStateModel, list[NextActionMetrics]]:
    """Return the recurrent state model, trained to predict the type of the expert's next action, and its history."""

    def compute(folder: Path) -> None:
        result = train_next_action(episodes, encoder, webshop_grammar, settings.state_model, settings.next_action)
        result.model.save_pretrained(folder)
        write_metrics(folder, [asdict(epoch) for epoch in result.metrics])
        encoder.save()

    folder = run.stage(Stage.STATE_MODEL, compute)
    history = [NextActionMetrics(**row) for row in read_metrics(folder)]
    return RecurrentStateModel.from_pretrained(folder), history


def open_actor(
    settings: Phase2Settings,
    run: RunDirectory,
    episodes: Sequence[Trajectory],
    encoder: CachedEncoder,
) -> LanguageModelActor:
    """Return the language model that acts, as the settings ask for it; a student is trained now if it must be.

    Args:
        settings: settings of the experiment.
        run: run that a trained student is kept in.
        episodes: demonstrations that it learns from.
        encoder: encoder of the chunks that it learns to read.
    """
    return LanguageModelActor(
        train_student_stage(settings, run, episodes, encoder),
        batch_size=16,
        length_normalised=True,
        temperature=settings.student_training.temperature,
    )


def train_student_stage(
    settings: Phase2Settings,
    run: RunDirectory,
    episodes: Sequence[Trajectory],
    encoder: CachedEncoder,
) -> str | Path:
    """Return the language model that acts: the one asked for, the packaged student, or one trained here.

    Args:
        settings: settings of the experiment.
        run: run that a trained one is kept in.
        episodes: demonstrations to learn from.
        encoder: encoder by which query RAG chooses the chunks of some examples; others are whole pages, or at random.
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
        rng = np.random.default_rng(settings.seed)
        targets = value_targets([situation for situation, _ in decisions], temperature=settings.value_temperature)
        scorers = [instruction_similarity(encoder)]
        examples = student_examples(decisions, webshop_grammar, settings.student_data, rng, scorers, own=targets)
        steps = settings.student_training.steps
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task("Student", total=steps)
            train_student(
                examples,
                webshop_grammar,
                settings.student_training,
                folder / "model",
                checkpoint=run.work_folder(Stage.STUDENT) / "checkpoint.safetensors",
                command="uv run apps/phase2.py --student train",
                progress=lambda step, _: bar.update(task, completed=step),
            )
        encoder.save()

    return run.stage(Stage.STUDENT, compute) / "model"
