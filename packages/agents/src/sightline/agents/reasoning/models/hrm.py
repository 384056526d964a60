"""The hierarchical reasoning model (arXiv 2506.21734): a fast network for the latent, a slow one for the answer."""

from __future__ import annotations

import torch

from sightline.agents.reasoning.config import HRMConfig
from sightline.agents.reasoning.models.layers import TensorFn
from sightline.agents.reasoning.models.reasoner import RecursiveReasoner


class HRM(RecursiveReasoner):
    """z <- f_L(z + y + e(x)) n times, then y <- f_H(y + z); T such cycles are a segment."""

    config_type = HRMConfig
    config: HRMConfig

    def __init__(self, config: HRMConfig) -> None:
        super().__init__(config, networks=2)

    def functions(self, dtype: torch.dtype) -> tuple[TensorFn, TensorFn]:
        """Return the low-level and the high-level network."""
        return self.networks[0].at(dtype), self.networks[1].at(dtype)
