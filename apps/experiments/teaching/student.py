"""The student: a causal language model that reads a page, and perhaps a tip, and samples one of its actions.

What acts is what is scored, trained and evaluated: one prompt, one tokenizer, one temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from experiments.teaching.settings import StudentSettings
from sightline.agents import LanguageModelActor
from sightline.agents.actors import PackedPrompt, candidate_log_probabilities
from sightline.agents.grammar import webshop_grammar
from sightline.agents.prompts import render_prompt
from sightline.agents.student import PACKAGED_STUDENT
from sightline.teachability import StateView
from sightline.teachability.training import CausalLanguagePolicy, Encoded, LoRALearner, TextEncoder, plain_scores
from sightline.teachability.training_records import LearnerConfig

if TYPE_CHECKING:
    import torch

_CONTEXT = 1024
_BATCH = 8
_PASS = 4


@dataclass(frozen=True)
class Student:
    """A model that is loaded."""

    name: str
    """What tables call it."""
    model: Any
    """The model."""
    encode: TextEncoder
    """Makes tokens of a page and a tip."""
    packed: bool
    """Whether the candidates of a page can share a forward pass."""

    @property
    def score(self) -> Any:
        """The function that computes log-probabilities, for acting and training alike."""
        return packed_scores if self.packed else plain_scores

    def policy(self, temperature: float) -> CausalLanguagePolicy:
        """Return the student as it acts before any training."""
        return CausalLanguagePolicy(
            self.model,
            self.encode,
            name=self.name,
            fingerprint=self.name,
            temperature=temperature,
            length_normalised=True,
            score=self.score,
            batch_size=_BATCH,
        )


def render(view: StateView, tip: str | None) -> tuple[str, Sequence[str]]:
    """Return the prompt of a page, with a tip if there is one, and the actions, product numbers abbreviated."""
    task = webshop_grammar.task_text(view.instruction)
    prompt = render_prompt(task, [view.observation], tip=tip)
    prompt, *actions = webshop_grammar.abbreviate(view.observation, (prompt, *view.actions))
    return prompt, actions


def packed_scores(model: Any, encoded: Sequence[Encoded]) -> list[torch.Tensor]:
    """Return log-probabilities by one row per prompt, which its candidates share; gradients flow.

    A training's batch holds prompts of 30 and of 400 tokens. Those of like length share a pass, which saves a sixth.
    """
    order = sorted(range(len(encoded)), key=lambda place: len(encoded[place].prompt))
    found: dict[int, torch.Tensor] = {}
    for start in range(0, len(order), _PASS):
        places = order[start : start + _PASS]
        prompts = [PackedPrompt(encoded[place].prompt, encoded[place].candidates) for place in places]
        found.update(zip(places, candidate_log_probabilities(model, prompts), strict=True))
    return [found[place] for place in range(len(encoded))]


def student_path(settings: StudentSettings) -> str:
    """Return the id or folder of the model that is taught."""
    return settings.model or str(PACKAGED_STUDENT)


def open_policy(settings: StudentSettings) -> CausalLanguagePolicy:
    """Return the student as it acts before any training, without the weight of an empty adapter."""
    return _load(student_path(settings), "acting").policy(settings.temperature)


def open_student(settings: StudentSettings) -> tuple[Student, LoRALearner]:
    """Return the student and its learner; whoever asks again in this process gets the same."""
    return _open_learner(student_path(settings), settings.learner_config.model_dump_json())


@lru_cache(maxsize=3)
def _load(path: str, use: str) -> Student:
    """Load a model, once for each use: a learner puts its adapters into it."""
    actor = LanguageModelActor(path, length_normalised=True)
    context = getattr(actor.model.config, "max_position_embeddings", None) or _CONTEXT
    name = path if "/" not in path else path.rstrip("/").rpartition("/")[2]
    encode = TextEncoder(actor.tokenizer, render=render, context=min(context, 4 * _CONTEXT))
    return Student(name, actor.model, encode, actor.path == "tree")


@lru_cache(maxsize=2)
def _open_learner(path: str, config: str) -> tuple[Student, LoRALearner]:
    student = _load(path, config)
    learner = LoRALearner(
        student.model,
        student.encode,
        LearnerConfig.model_validate_json(config),
        name=student.name,
        score=student.score,
        batch_size=_BATCH,
    )
    return student, learner
