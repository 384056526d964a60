"""What was spent: a count for each thing that costs. Knows nothing of prices."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import Field

from sightline.teachability.records import Record


class Cost(Record):
    """What some piece of work took."""

    environment_steps: int = Field(0, ge=0)
    """Actions tried in the environment."""
    prompts: int = Field(0, ge=0)
    """Answers of the student's policy; "equal cost" counts these."""
    tokens: int = Field(0, ge=0)
    """Tokens that training read."""
    teacher_calls: int = Field(0, ge=0)
    """Questions to the teacher."""
    cpu_seconds: float = Field(0.0, ge=0)
    """Processor time; it is no part of results that must be equal between runs."""


@dataclass(slots=True)
class Ledger:
    """Counts that work adds to while it goes on; see `Cost`."""

    environment_steps: int = 0
    prompts: int = 0
    tokens: int = 0
    teacher_calls: int = 0
    cpu_seconds: float = 0.0

    def cost(self) -> Cost:
        """Return what was spent so far."""
        return Cost(
            environment_steps=self.environment_steps,
            prompts=self.prompts,
            tokens=self.tokens,
            teacher_calls=self.teacher_calls,
            cpu_seconds=self.cpu_seconds,
        )

    @contextmanager
    def clock(self) -> Generator[None]:
        """Add the processor time of the block."""
        start = time.process_time()
        try:
            yield
        finally:
            self.cpu_seconds += time.process_time() - start
