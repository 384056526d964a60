"""The weighted sum of losses that a training step minimises.

The one place where weights are applied. Knows tensors of a batch, not where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.jepa.config import LossConfig
from sightline.jepa.losses.losses import (
    LossParts,
    Temperature,
    batch_info_nce,
    centroid_loss,
    corpus_info_nce,
    regression_loss,
    steering_loss,
    vicreg_loss,
)
from sightline.jepa.losses.routing import (
    disentanglement_loss,
    load_balance_loss,
    residual_penalty,
    routing_confidence_loss,
    routing_loss,
)
from sightline.jepa.losses.sigreg import sigreg_loss
from sightline.jepa.models.routed_predictor import Decomposition, extended
from sightline.jepa.models.scorer import FilteredQuery

Output = Tensor | FilteredQuery | Decomposition
"""What a model says about B questions: the plain predictor, the scorer, the routed predictor."""


@dataclass(frozen=True, slots=True)
class TargetBatch:
    """What B predictions are compared with, all in the space of the predictions."""

    corpus: Tensor
    """`[S, D]`, unit rows; with gradient if sources are mapped by what is trained."""
    sources: Tensor
    """`[B, D]`, unit rows, the true sources as the online encoder sees them (with gradient if it learns)."""
    source_ids: Tensor
    """`[B]` int64, their rows in the corpus."""
    category: Tensor
    """`[B]` int64, their categories."""
    corpus_category: Tensor
    """`[S]` int64, the categories of the corpus."""
    others: tuple[Tensor, Tensor]
    """(rows of the batch, rows of the corpus), each `[n]` int64: what answers the batch's questions besides their own
    sources.
    """
    centroids: Tensor
    """`[K, D]`, unit rows, without gradient."""
    mined: Tensor | None = None
    """`[B, N]` int64, rows of the corpus that are negatives; None without mined negatives."""


@dataclass(frozen=True, slots=True)
class FiledSources:
    """Sources as the index files them, and what steering towards their categories adds to a prediction."""

    sources: Tensor
    """`[M, D]`, unit rows, without gradient."""
    category: Tensor
    """`[M]` int64."""
    directions: Tensor
    """`[K, D]`, of all categories, with gradient."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The losses of a batch."""

    weighted: dict[str, Tensor]
    """Name -> weighted scalar with gradient."""
    parts: dict[str, Tensor]
    """`name/part` -> unweighted, detached scalar."""

    @property
    def total(self) -> Tensor:
        """What to minimise, a scalar."""
        return torch.stack(list(self.weighted.values())).sum()


class Objective(nn.Module):
    """Computes the terms whose weight is not zero; owns the learned temperature."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.temperature = Temperature(config)

    def forward(self, output: Output, targets: TargetBatch, filed: FiledSources | None = None) -> Terms:
        """Compare predictions with their targets.

        Args:
            output: `[B, D]` unit predictions of the plain predictor, the scorer's query, or a live decomposition of the
                routed predictor.
            targets: targets of the predictions.
            filed: sources and directions that the steering term compares; None leaves the term out.

        Raises:
            ValueError: all weights that apply to the model are zero.
        """
        losses = self._base(output, targets)
        if self.config.steering and filed is not None:
            # Detached, so that an easy term does not set the temperature of the hard one.
            temperature = self.temperature().detach()
            loss = steering_loss(filed.directions, filed.sources, filed.category, temperature)
            losses["steering"] = self.config.steering, loss
        if isinstance(output, Decomposition):
            losses |= self._routing(output, targets.category)
        if not losses:
            raise ValueError("every loss that applies to this model has weight 0; give one of them a weight")
        parts = {f"{name}/{part}": value.detach() for name, (_, loss) in losses.items() for part, value in loss.items()}
        return Terms({name: weight * loss["loss"] for name, (weight, loss) in losses.items()}, parts)

    def regression(self, output: Output, targets: TargetBatch) -> Terms:
        """Compute the distance to the true sources alone, with its weight or 1: the first stage of staged training."""
        true = targets.corpus[targets.source_ids].detach()
        loss = regression_loss(_predictions(output), true, self.config.regression_kind)
        parts = {f"regression/{part}": value.detach() for part, value in loss.items()}
        return Terms({"regression": (self.config.regression or 1.0) * loss["loss"]}, parts)

    def _base(self, output: Output, targets: TargetBatch) -> dict[str, tuple[float, LossParts]]:
        config = self.config
        predictions = _predictions(output)
        # Without gradient, or sources that are mapped could be moved to where every prediction is.
        true = targets.corpus[targets.source_ids].detach()
        losses: dict[str, tuple[float, LossParts]] = {}
        if config.info_nce:
            losses["info_nce"] = config.info_nce, self._info_nce(output, targets)
        if config.regression:
            losses["regression"] = config.regression, regression_loss(predictions, true, config.regression_kind)
        if config.centroid:
            loss = centroid_loss(predictions, targets.centroids, targets.category, config.centroid_temperature)
            losses["centroid"] = config.centroid, loss
        if config.vicreg:
            losses["vicreg"] = config.vicreg, vicreg_loss(predictions, true)
        if config.sigreg:
            directions = torch.randn(config.sigreg_directions, predictions.shape[1], device=predictions.device)
            losses["sigreg"] = config.sigreg, sigreg_loss(predictions, directions)
        return losses

    def _info_nce(self, output: Output, targets: TargetBatch) -> LossParts:
        """Return the contrastive term over the scores by which sources are found."""
        temperature = self.temperature()
        prior = None if isinstance(output, Tensor) else output.prior
        if self.config.negatives != "batch":
            loss = corpus_info_nce(
                _predictions(output),
                targets.corpus,
                targets.source_ids,
                targets.others,
                temperature,
                self.config.label_smoothing,
                None if prior is None else prior[:, targets.corpus_category],
            )
            return loss | {"temperature": temperature.detach()}
        positive = torch.zeros(
            len(targets.sources), len(targets.corpus), dtype=torch.bool, device=targets.sources.device
        )
        positive[targets.others] = True
        positive[torch.arange(len(positive)), targets.source_ids] = True
        corpus, sources, queries = targets.corpus, targets.sources, _predictions(output)
        if prior is not None:
            queries = torch.cat([queries, prior], dim=1)
            corpus = extended(corpus, targets.corpus_category, prior.shape[1])
            sources = extended(sources, targets.category, prior.shape[1])
        shared = self.config.mined_negatives == "shared"
        mined = known = None
        if targets.mined is not None:
            ids = targets.mined.unique() if shared else targets.mined
            mined, known = corpus[ids], positive[:, ids] if shared else None
        loss = batch_info_nce(queries, sources, positive[:, targets.source_ids], temperature, mined, known)
        return loss | {"temperature": temperature.detach()}

    def _routing(self, output: Decomposition, category: Tensor) -> dict[str, tuple[float, LossParts]]:
        config, weights = self.config, output.routing_weights
        losses: dict[str, tuple[float, LossParts]] = {}
        if config.routing:
            losses["routing"] = config.routing, routing_loss(output.routing_logits, category)
        if config.load_balance:
            losses["load_balance"] = config.load_balance, load_balance_loss(weights)
        if config.routing_confidence:
            losses["routing_confidence"] = config.routing_confidence, routing_confidence_loss(weights)
        if config.residual:
            losses["residual"] = config.residual, residual_penalty(output.fine, config.residual_margin)
        if config.disentanglement:
            losses["disentanglement"] = config.disentanglement, disentanglement_loss(weights)
        return losses


def _predictions(output: Output) -> Tensor:
    return output if isinstance(output, Tensor) else output.prediction
