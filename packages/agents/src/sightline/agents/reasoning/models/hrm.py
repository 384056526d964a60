"""The hierarchical reasoning model (arXiv 2506.21734): a fast network for the latent, a slow one for the answer."""

from __future__ import annotations

from sightline.agents.reasoning.config import HRMConfig
from sightline.agents.reasoning.models.reasoner import RecursiveReasoner


class HRM(RecursiveReasoner):
    """z <- f_L(z + y + e(x)) n times, then y <- f_H(y + z); T such cycles are a segment."""

    config_type = HRMConfig
    stacks = 2
