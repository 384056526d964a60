"""Score sources by what the question says and by how probable their category is under the steering.

Knows categories by number and description only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.jepa.config import PredictorConfig, ScorerConfig
from sightline.jepa.models.inputs import check_inputs
from sightline.jepa.models.predictor import SteeredResidual, in_evaluation_mode

_RULED_OUT = -1e4  # what a hard filter adds; infinite, it would make NaN of the zeros of one-hot sources


@dataclass(frozen=True, slots=True)
class FilteredQuery:
    """A query and what each category adds to the scores of its sources. Tensors are live: detach them to keep them."""

    prediction: Tensor
    """`[B, D]`, unit rows, compared with mapped sources."""
    prior: Tensor
    """`[B, K]`, what a source's score gains by lying in each category; zeros without steering."""
    category_logarithms: Tensor
    """`[B, K]`, log p(category | steering); that of the uniform distribution without steering."""

    @property
    def query(self) -> Tensor:
        """What to search `extended` sources with, `[B, D + K]`: the prediction and the prior."""
        return torch.cat([self.prediction, self.prior], dim=1)


class FilterAwareScorer(nn.Module):
    """`score = unit(q + q A) . unit(x + x C) + b log p(category of x | steering)`.

    A and C start at zero and are decayed towards it, so that the untrained scorer is cosine with a weak filter. The
    distribution p is a softmax of the cosines between steering and category descriptions, of which a share is spread
    evenly: a posterior of the category if the caller may be mistaken. Its temperature and that share are learned with
    A, C and b within one contrastive softmax, so the maps know that a filter will follow and leave to it what it can
    do. As in a `RoutedPredictor` the bonus is K more coordinates of an inner product.

    Categories are known by their descriptions alone, so `with_descriptions` exchanges them without training.
    """

    descriptions: Tensor

    def __init__(self, predictor: PredictorConfig, config: ScorerConfig, descriptions: Tensor) -> None:
        """Make an untrained scorer.

        Args:
            predictor: width of the embeddings, and shape of the residual if there is one.
            config: initial numbers, width of steering, kind of residual.
            descriptions: `[K, D]` float, unit rows: what steering towards each category looks like.

        Raises:
            ValueError: the descriptions have another width, or the kind of residual is still open.
        """
        super().__init__()
        dimension = predictor.dimension
        if config.residual == "auto":
            raise ValueError("scorer.residual 'auto' is for the trainer, which tries both; a scorer has one or not")
        self.register_buffer("descriptions", _checked(descriptions, dimension))
        self.steering_dimension = config.steering_dimension or dimension
        self.question_map = nn.Linear(dimension, dimension, bias=False)
        self.source_map = nn.Linear(dimension, dimension, bias=False)
        nn.init.zeros_(self.question_map.weight)
        nn.init.zeros_(self.source_map.weight)
        self.steering_map: nn.Linear | None = None
        if config.steering_dimension is not None:
            self.steering_map = nn.Linear(self.steering_dimension, dimension, bias=False)
            nn.init.zeros_(self.steering_map.weight)  # an untrained state says nothing about categories
        self.residual: SteeredResidual | None = None
        if config.residual == "plain":
            # Without its own share of steering, so that the untrained scorer is the same with and without a residual.
            self.residual = SteeredResidual(predictor.model_copy(update={"steering_weight": 0.0}))
        self.log_category_weight = nn.Parameter(torch.tensor(config.category_weight).log())
        self.log_category_temperature = nn.Parameter(torch.tensor(config.category_temperature).log())
        self.floor_logit = nn.Parameter(torch.tensor(config.category_floor).logit())

    @property
    def scalars(self) -> tuple[nn.Parameter, ...]:
        """The three learned numbers of the filter."""
        return self.log_category_weight, self.log_category_temperature, self.floor_logit

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """The matrices that queries, sources and steering go through, apart from a residual's."""
        linear = (self.question_map, self.source_map, self.steering_map)
        return tuple(each.weight for each in linear if each is not None)

    @property
    def num_categories(self) -> int:
        """K."""
        return len(self.descriptions)

    def with_descriptions(self, descriptions: Tensor) -> None:
        """Know other categories from now on, `[K, D]` float, unit rows.

        Raises:
            ValueError: they have another width.
        """
        self.descriptions = _checked(descriptions, self.descriptions.shape[1]).to(self.descriptions)

    def forward(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> FilteredQuery:
        """Return what sources are compared with.

        Args:
            question: `[B, D]` float, unit rows.
            steering: `[B, steering_dimension]` float; rows without steering do not matter.
            has_steering: `[B]` bool.
            steering_strength: factor of b: 0 ignores steering, 1 is as trained, infinity ranks all sources of the
                most probable category before all others.

        Raises:
            ValueError: a shape or dtype does not fit, or the strength is negative or no number.
        """
        check_inputs(question, steering, has_steering, self.descriptions.shape[1], self.steering_dimension)
        if not steering_strength >= 0:
            raise ValueError(f"steering_strength must not be negative, not {steering_strength!r}")
        logarithms = self.category_logarithms(steering, has_steering)
        if math.isinf(steering_strength):
            likeliest = logarithms == logarithms.max(dim=1, keepdim=True).values
            prior = torch.where(likeliest, 0.0, _RULED_OUT)
        else:
            prior = steering_strength * self.log_category_weight.exp() * logarithms
        prior = torch.where(has_steering[:, None], prior, 0.0)
        moved = question + self.question_map(question)
        if self.residual is not None:
            moved = moved + self._residual(question, steering, has_steering, steering_strength) - question
        return FilteredQuery(functional.normalize(moved, dim=1), prior, logarithms)

    def category_logarithms(self, steering: Tensor, has_steering: Tensor) -> Tensor:
        """Return log p(category | steering), `[B, K]`; rows sum to 1 as probabilities.

        Args:
            steering: `[B, steering_dimension]` float; rows without steering do not matter.
            has_steering: `[B]` bool.
        """
        cosines = self._steered(steering, has_steering) @ self.descriptions.T
        read = (cosines / self.log_category_temperature.exp()).log_softmax(dim=1)
        floor = self.floor_logit.sigmoid()
        # log((1 - floor) p + floor / K), without the underflow of p.
        even = (floor / self.num_categories).log().expand_as(read)
        return torch.logaddexp(torch.log1p(-floor) + read, even)

    def embed_sources(self, sources: Tensor) -> Tensor:
        """Return sources `[S, D]` as queries are compared with them, unit rows; with gradients."""
        return functional.normalize(sources + self.source_map(sources), dim=1)

    @torch.no_grad()
    def predict(
        self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float = 1.0
    ) -> Tensor:
        """Return queries `[B, D + K]` alone, without gradients and dropout, whatever mode the module is in."""
        return in_evaluation_mode(self, question, steering, has_steering, steering_strength).query

    def _steered(self, steering: Tensor, has_steering: Tensor) -> Tensor:
        """Return steering as a vector `[B, D]` that is held against descriptions; zeros without."""
        vectors = torch.where(has_steering[:, None], steering, 0.0)
        return vectors if self.steering_map is None else self.steering_map(vectors)

    def _residual(self, question: Tensor, steering: Tensor, has_steering: Tensor, steering_strength: float) -> Tensor:
        assert self.residual is not None
        # The filter alone goes beyond what was trained: the perceptron knows nothing of stronger steering.
        strength = min(steering_strength, 1.0)
        return self.residual(question, self._steered(steering, has_steering), has_steering, strength)


def _checked(descriptions: Tensor, dimension: int) -> Tensor:
    if descriptions.ndim != 2 or not len(descriptions) or descriptions.shape[1] != dimension:
        raise ValueError(f"descriptions must have shape [K, {dimension}], not {list(descriptions.shape)}")
    return descriptions.clone()
