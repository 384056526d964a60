"""Route a question and its steering to named subspaces.

Knows embeddings only; what the subspaces are called is the business of whoever shows them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.jepa.config import RouterConfig


class SubspaceRouter(nn.Module):
    """Weights over K subspaces: a product of what the question and what the steering say.

    `logits_k = a cos(q', centroid_k) + h b s'.description_k + bias`, where q' and s' are linear maps of question and
    steering that start as the identity, and h is 1 where there is steering, else 0. A softmax of such a sum is the
    posterior of two independent witnesses, so a certain question can outvote a wrong steering. Untrained it is the
    nearest centroid, and with steering mostly the category whose description was given. Deterministic, unless the
    module is in training mode: then it adds Gumbel noise (Jang et al. 2017, equation 2).
    """

    centroids: Tensor
    descriptions: Tensor

    def __init__(self, config: RouterConfig, centroids: Tensor, descriptions: Tensor) -> None:
        """Make an untrained router.

        Args:
            config: initial scales and temperature.
            centroids: `[K, D]` float, unit rows: where each subspace's sources lie.
            descriptions: `[K, D]` float, unit rows: what steering towards each subspace looks like.

        Raises:
            ValueError: the shapes differ, or there are fewer than two subspaces.
        """
        super().__init__()
        if centroids.ndim != 2 or len(centroids) < 2 or descriptions.shape != centroids.shape:
            raise ValueError(
                "centroids and descriptions must have one shape [K, D] with K >= 2, "
                f"not {list(centroids.shape)} and {list(descriptions.shape)}"
            )
        dimension = centroids.shape[1]
        self.register_buffer("centroids", centroids.clone())
        self.register_buffer("descriptions", descriptions.clone())
        self.question_map = nn.Linear(dimension, dimension, bias=False)
        self.steering_map = nn.Linear(dimension, dimension, bias=False)
        nn.init.zeros_(self.question_map.weight)
        nn.init.zeros_(self.steering_map.weight)
        self.log_question_scale = nn.Parameter(torch.tensor(config.question_scale).log())
        self.log_steering_scale = nn.Parameter(torch.tensor(config.steering_scale).log())
        self.bias = nn.Parameter(torch.zeros(len(centroids)))
        self.temperature = config.temperature_start

    @property
    def num_subspaces(self) -> int:
        """K."""
        return len(self.bias)

    def logits(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> Tensor:
        """Return the routing logits `[B, K]`, before temperature and noise.

        Args:
            question: `[B, D]` float, unit rows.
            steering: `[B, D]` float, unit rows; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: factor of what the steering says.
        """
        asked = functional.normalize(question + self.question_map(question), dim=1)
        vectors = torch.where(has_steering[:, None], steering, 0.0)
        steered = (vectors + self.steering_map(vectors)) @ self.descriptions.T
        by_question = self.log_question_scale.exp() * (asked @ self.centroids.T)
        return by_question + steering_strength * self.log_steering_scale.exp() * steered + self.bias

    def weigh(self, logits: Tensor) -> Tensor:
        """Return weights `[B, K]` of logits: Gumbel-softmax at `temperature` in training mode, softmax otherwise.

        Noise comes from torch's global generator, which the trainer seeds.
        """
        if self.training:
            return functional.gumbel_softmax(logits, tau=self.temperature)
        return logits.softmax(dim=1)

    def forward(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return weights and logits, each `[B, K]`; the arguments are those of `logits`."""
        logits = self.logits(question, steering, has_steering, steering_strength)
        return self.weigh(logits), logits
