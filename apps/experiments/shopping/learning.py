"""What an experiment learns first: the state model, and the student that acts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from experiments.shopping.settings import Phase1Settings, Phase2Settings
from experiments.shopping.stages import Stage
from lab.run import RunDirectory, read_metrics, write_metrics
from sightline.agents import Actor, ChatActor, LanguageModelActor, Situation, Trajectory
from sightline.agents.chat import AnswerCache, ChatConfig, TokenLedger
from sightline.agents.grammar import first_hit, webshop_grammar
from sightline.agents.reading import instruction_similarity
from sightline.agents.state import NextActionMetrics, RecurrentStateModel, train_next_action
from sightline.agents.student import PACKAGED_STUDENT, student_examples, train_adapter, train_student, value_targets
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


def _rule_would(situation: Situation) -> str:
    """Return what the twelve-line rule does with the whole page in sight, as one does who can only read."""
    memory = webshop_grammar.memory(situation.events, situation.instruction)
    shown = "\n".join([*memory, webshop_grammar.page_text(situation.observation, situation.instruction)])
    return first_hit(webshop_grammar.task_text(situation.instruction), shown, situation.actions)


def open_actor(
    settings: Phase2Settings,
    run: RunDirectory,
    episodes: Sequence[Trajectory],
    encoder: CachedEncoder,
) -> Actor:
    """Return the language model that acts, as the settings ask for it; what must be trained is trained now.

    Args:
        settings: settings of the experiment.
        run: run that a trained student or adapter is kept in, as are a server's answers and what they cost.
        episodes: demonstrations that it learns from.
        encoder: encoder of the chunks that it learns to read.
    """
    if settings.base_url is not None:
        return open_chat_actor(settings, run)
    model, adapter, temperature = settings.model or PACKAGED_STUDENT, None, settings.student_training.temperature
    if settings.student != "packaged":
        trained = train_student_stage(settings, run, episodes, encoder)
        model, adapter = (model, trained) if settings.student == "lora" else (trained, None)
    if adapter is not None:
        temperature = settings.adapter_training.temperature
    return LanguageModelActor(model, adapter=adapter, batch_size=16, length_normalised=True, temperature=temperature)


def packaged_student(settings: Phase2Settings) -> Actor:
    """Return the small language model that is shipped with the package."""
    return LanguageModelActor(
        PACKAGED_STUDENT, batch_size=16, length_normalised=True, temperature=settings.student_training.temperature
    )


def open_chat_actor(settings: Phase2Settings, run: RunDirectory) -> ChatActor:
    """Return the server's model as an actor; what it answered is kept with the run, so that nothing is asked twice."""
    config = ChatConfig(model=settings.model or "", base_url=settings.base_url, parameters={"max_tokens": 64})
    return ChatActor(
        config,
        role=webshop_grammar.role,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),  # most servers of one's own want none
        cache=AnswerCache(run.path / "answers"),
        ledger=TokenLedger(run.path / "ledger.jsonl", settings.prices),
    )


def train_student_stage(
    settings: Phase2Settings,
    run: RunDirectory,
    episodes: Sequence[Trajectory],
    encoder: CachedEncoder,
) -> Path:
    """Return the folder of a student trained from scratch, or of an adapter for the settings' model.

    Args:
        settings: settings of the experiment.
        run: run that it is kept in.
        episodes: demonstrations to learn from.
        encoder: encoder by which query RAG chooses the chunks of some examples; others are whole pages, or at random.
    """
    adapts = settings.student == "lora"

    def compute(folder: Path) -> None:
        decisions = [
            (situation, situation.expert_action or action)
            for episode in episodes
            for situation, action in episode.situations()
        ]
        rng = np.random.default_rng(settings.seed)
        situations = [situation for situation, _ in decisions]
        targets = value_targets(
            situations, temperature=settings.value_temperature, preferred=[_rule_would(each) for each in situations]
        )
        scorers = [instruction_similarity(encoder)]
        examples = student_examples(decisions, webshop_grammar, settings.student_data, rng, scorers, own=targets)
        steps = settings.adapter_training.steps if adapts else settings.student_training.steps
        work = run.work_folder(Stage.STUDENT) / "checkpoint.safetensors"
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task("Student", total=steps)
            told: dict[str, Any] = {
                "checkpoint": work,
                "command": f"uv run apps/{run.path.parent.name}.py --student {settings.student}",
                "progress": lambda step, _: bar.update(task, completed=step),
            }
            if adapts:
                model, config = settings.model or "", settings.adapter_training
                train_adapter(examples, webshop_grammar, model, config, folder / "model", **told)
            else:
                train_student(examples, webshop_grammar, settings.student_training, folder / "model", **told)
        encoder.save()

    return run.stage(Stage.STUDENT, compute) / "model"
