"""Predict a source as a mixture of exact subspace centroids plus a bounded fine part.

Knows subspaces by number only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.jepa.config import PredictorConfig, RouterConfig
from sightline.jepa.models.predictor import SteeredResidual
from sightline.jepa.models.router import SubspaceRouter


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A prediction and what it is made of. Tensors are live: detach them to keep them."""

    prediction: Tensor
    """`[B, D]`, `unit(coarse + fine)`."""
    coarse: Tensor
    """`[B, D]`, `routing_weights @ centroids`."""
    fine: Tensor
    """`[B, D]`, what is added to it; no longer than the configured radius."""
    routing_weights: Tensor
    """`[B, K]`, rows sum to 1."""
    routing_logits: Tensor
    """`[B, K]`, what the router says, whether or not its weights were overridden."""
    prior: Tensor
    """`[B, K]`, what a source's score gains by lying in each subspace."""
    atypicality: Tensor
    """`[B]`, length of the fine part in lengths of a centroid: how little the model leans on the routed subspace."""

    @property
    def query(self) -> Tensor:
        """What to search `extended` sources with, `[B, D + K]`: the prediction and the prior."""
        return torch.cat([self.prediction, self.prior], dim=1)

    @property
    def unnormalised(self) -> Tensor:
        """`coarse + fine`, `[B, D]`."""
        return self.coarse + self.fine


class RoutedPredictor(nn.Module):
    """(question, steering) -> `unit(coarse + fine)`, with the coarse part open to inspection and intervention.

    `coarse = w @ centroids` with the router's weights w; `fine = bounded(residual / gate)`, where the residual is
    that of the plain predictor and the gate is learned from how certain the weights are. As only the direction counts,
    this is `unit(gate coarse + residual)`: the gate decides how much the concept weighs, and the length of the fine
    part tells it. Untrained, the prediction is the Rocchio average plus a small share of the nearest centroids.

    Routing takes part in the search as well: a source x of subspace k scores `prediction . x + b log w'_k`, which for
    one temperature of scores and b is the mixture of experts `P(x) = sum_k w'_k P(x | k)` (Jacobs et al. 1991). Here
    w' is w with a small even share added, so that no subspace is ruled out, and b is learned. This is an inner product
    of vectors with K more coordinates, those of the source being one-hot.
    """

    def __init__(
        self, config: PredictorConfig, router_config: RouterConfig, centroids: Tensor, descriptions: Tensor
    ) -> None:
        """Make an untrained model.

        Args:
            config: shape of the residual.
            router_config: routing, initial share of the coarse part and bound of the fine part.
            centroids: `[K, D]` float, unit rows; kept as they are.
            descriptions: `[K, D]` float, unit rows: what steering towards each subspace looks like.

        Raises:
            ValueError: centroids or descriptions do not fit the configuration.
        """
        super().__init__()
        if centroids.ndim != 2 or centroids.shape[1] != config.dimension:
            raise ValueError(f"centroids must have shape [K, {config.dimension}], not {list(centroids.shape)}")
        self.router = SubspaceRouter(router_config, centroids, descriptions)
        self.residual = SteeredResidual(config)
        self.gate = nn.Linear(3, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, math.log(router_config.coarse_share))
        self.fine_radius = router_config.fine_radius
        self.prior_weight = nn.Parameter(torch.tensor(router_config.prior_weight))
        self.prior_floor = router_config.prior_floor

    def forward(
        self,
        question: Tensor,
        steering: Tensor,
        has_steering: Tensor,
        steering_strength: float = 1.0,
        *,
        force: Tensor | None = None,
        routing_weights: Tensor | None = None,
    ) -> Decomposition:
        """Predict, optionally with the routing taken out of the router's hands.

        Args:
            question: `[B, D]` float, unit rows.
            steering: `[B, D]` float, unit rows; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: factor of what steering changes: 0 ignores it, 1 is as trained.
            force: `[B]` int64, route each row wholly to this subspace.
            routing_weights: `[B, K]` float, use these weights instead of the router's.

        Raises:
            ValueError: a shape or dtype does not fit, a forced subspace does not exist, or both interventions are
                asked for.
        """
        residual = self.residual(question, steering, has_steering, steering_strength)
        weights, logits = self.router(question, steering, has_steering, steering_strength)
        certain = logits.softmax(dim=1)  # without the noise that the weights have in training
        if force is not None or routing_weights is not None:
            weights = certain = self._intervention(len(question), force, routing_weights)
        prior = self.prior_weight * ((1 - self.prior_floor) * certain + self.prior_floor / certain.shape[1]).log()
        coarse = weights @ self.router.centroids
        fine = bounded(residual / self._gate(weights, has_steering, steering_strength), self.fine_radius)
        prediction = functional.normalize(coarse + fine, dim=1)
        return Decomposition(prediction, coarse, fine, weights, logits, prior, fine.norm(dim=1))

    @torch.no_grad()
    def predict(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> Tensor:
        """Return queries `[B, D + K]` alone, without gradients, dropout and noise, whatever mode the module is in."""
        return self.decompose(question, steering, has_steering, steering_strength).query

    @torch.no_grad()
    def decompose(
        self,
        question: Tensor,
        steering: Tensor,
        has_steering: Tensor,
        steering_strength: float = 1.0,
        *,
        force: Tensor | None = None,
        routing_weights: Tensor | None = None,
    ) -> Decomposition:
        """Predict as `forward` does, without gradients, dropout and noise, whatever mode the module is in."""
        training = self.training
        self.eval()
        try:
            return self(
                question, steering, has_steering, steering_strength, force=force, routing_weights=routing_weights
            )
        finally:
            self.train(training)

    @torch.no_grad()
    def route(self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0) -> Tensor:
        """Return the routing weights `[B, K]` alone, without gradients and noise."""
        return self.router.logits(question, steering, has_steering, steering_strength).softmax(dim=1)

    def _gate(self, weights: Tensor, has_steering: Tensor, steering_strength: float) -> Tensor:
        """Return the positive weight `[B, 1]` of the coarse part, by certainty of routing and presence of steering."""
        steered = has_steering.to(weights.dtype) * min(steering_strength, 1.0)
        normalised_entropy = -(weights * weights.clamp_min(1e-12).log()).sum(dim=1) / math.log(weights.shape[1])
        features = torch.stack([weights.max(dim=1).values, normalised_entropy, steered], dim=1)
        # Within e^-4 .. e^4, so that neither part can be switched off for good.
        return self.gate(features).clamp(-4.0, 4.0).exp()

    def _intervention(self, count: int, force: Tensor | None, routing_weights: Tensor | None) -> Tensor:
        subspaces = self.router.num_subspaces
        if force is not None and routing_weights is not None:
            raise ValueError("give force or routing_weights, not both")
        if routing_weights is not None:
            if routing_weights.shape != (count, subspaces):
                raise ValueError(
                    f"routing_weights must have shape [{count}, {subspaces}], not {list(routing_weights.shape)}"
                )
            return routing_weights
        assert force is not None
        if force.shape != (count,) or force.dtype != torch.int64:
            raise ValueError(f"force must be int64 [{count}], not {force.dtype} {list(force.shape)}")
        if count and not 0 <= int(force.min()) <= int(force.max()) < subspaces:
            raise ValueError(
                f"force names subspace {int(force.max())} or {int(force.min())}; they are 0 to {subspaces - 1}"
            )
        return functional.one_hot(force, subspaces).to(self.router.centroids.dtype)


def extended(sources: Tensor, category: Tensor, subspaces: int) -> Tensor:
    """Return what `Decomposition.query` is compared with: sources and their one-hot subspaces, `[S, D + K]`.

    Args:
        sources: `[S, D]` float, unit rows.
        category: `[S]` int64, the subspace of each.
        subspaces: number K of subspaces.
    """
    return torch.cat([sources, functional.one_hot(category, subspaces).to(sources.dtype)], dim=1)


def bounded(vectors: Tensor, radius: float) -> Tensor:
    """Shorten rows of `[B, D]` that are longer than the radius to it."""
    lengths = vectors.norm(dim=1, keepdim=True)
    return vectors * (radius / lengths.clamp_min(radius))
