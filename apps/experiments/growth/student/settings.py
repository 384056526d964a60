"""The settings of the experiment with a student that grows, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from experiments.growth.problem import HeadroomSettings
from lab.settings import WorkerSettings
from sightline.agents.student import StudentDataConfig, StudentTrainingConfig

PLACES = 3
"""Places that a student can grow in, as many as token hosts have slots."""


class GrownStudentSettings(WorkerSettings):
    """Let a policy that learned on small token hosts decide when and where the shop's student grows in its training."""

    SMOKE: ClassVar[Mapping[str, Any]] = {
        "training_goals": 12,
        "validation_goals": 4,
        "test_goals": 6,
        "validation_decisions": 6,
        "student": {
            "vocabulary_size": 400, "width": 16, "heads": 2, "feed_forward": 24, "steps": 24, "batch_size": 2,
        },
        "seeds": (0, 1),
        "policy_seeds": (0,),
    }  # fmt: skip
    training_goals: int = Field(default=800, ge=8)
    """Goals of the shop whose demonstrations the student learns from."""
    validation_goals: int = Field(default=20, ge=4)
    """Held-out goals that the growing student is validated on in its training."""
    validation_decisions: int = Field(default=64, ge=2)
    """Decisions of a validation, the first of those goals."""
    test_goals: int = Field(default=100, ge=4)
    """Goals of the test split, which nothing reads before the final figures."""
    student: StudentTrainingConfig = StudentTrainingConfig(steps=360, batch_size=8)
    """Final size, and training; its steps are those that the compute pays for at this size from the start. The rate
    rises and falls with the share of the compute that is spent; the seed, the warm-up, checkpoints and `reading` are
    not used."""
    small_layers: int = Field(default=2, ge=1)
    """Blocks of a student that is to grow, as it begins."""
    warmup_share: float = Field(default=0.0625, gt=0, lt=1)
    """Share of the compute in which the learning rate rises; then it falls to zero."""
    data: StudentDataConfig = StudentDataConfig(
        views=1, full_page_share=0.0, history="memory", max_chunks=4, target_share=0.9
    )
    """What the student's prompts show: chunks of pages, at random."""
    value_temperature: float = Field(default=0.0001, gt=0)
    """Softness of what the student learns, in units of reward; a step is worth 0.001."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the student's first weights and order of batches; every arm trains one student for each."""
    policies: tuple[Path, ...] = ()
    """Folders of trained policies, as `apps/headroom.py` and `apps/tamiyo.py` leave them, which take turns over the
    seeds. Without any, policies are trained here as `apps/headroom.py` trains them."""
    policy_seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds of policies that are trained here."""

    @property
    def headroom(self) -> HeadroomSettings:
        """The problem that policies learn on: token hosts, and the rules of growing there and here."""
        return HeadroomSettings.model_validate(HeadroomSettings.SMOKE if self.smoke else {})

    @property
    def epochs(self) -> int:
        """Decisions of an episode, equal shares of the compute; as many as policies know from token hosts."""
        return self.headroom.growth.training.steps

    @property
    def missing_blocks(self) -> int:
        """Blocks by which the small student is smaller; what it plants may have as many parameters."""
        return self.student.layers - self.small_layers

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> Self:
        if not 1 <= self.missing_blocks <= PLACES:
            raise ValueError(
                f"small_layers must be 1 to {PLACES} less than student.layers, which is {self.student.layers}"
            )
        if self.student.steps < 2 * self.epochs:
            raise ValueError(f"student.steps must be at least {2 * self.epochs}, two for each decision")
        if not self.policies and not self.policy_seeds:
            raise ValueError("without --policies, at least one of --policy-seeds must be trained")
        for folder in self.policies:
            if not (folder / "checkpoint.safetensors").is_file():
                raise ValueError(f"{folder} holds no trained policy: there is no checkpoint.safetensors in it")
        return self
