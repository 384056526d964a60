"""The tiny recursive model (arXiv 2510.04871): one small network updates its latent and its answer in turn."""

from __future__ import annotations

from sightline.agents.reasoning.config import TRMConfig
from sightline.agents.reasoning.models.reasoner import RecursiveReasoner


class TRM(RecursiveReasoner):
    """z <- f(z + y + e(x)) n times, then y <- f(y + z); T such cycles are a segment."""

    config_type = TRMConfig
