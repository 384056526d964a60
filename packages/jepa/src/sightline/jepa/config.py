"""What a training run may be told: frozen models that are the YAML file, key for key.

This module knows nothing of tensors or data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_SHOWN_CHARACTERS = 80


class ConfigError(ValueError):
    """A configuration file cannot be used; the message names the file, the key and what is allowed."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class PredictorConfig(_Section):
    """Shape of a `SteeredPredictor`, and of what other models take from it."""

    dimension: int = Field(default=384, ge=1)
    """D, the width of every embedding."""
    hidden_dimension: int = Field(default=512, ge=1)
    """Width of the hidden layer of the multilayer perceptron."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of hidden units silenced in training."""
    input_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of input coordinates silenced in training, on every path but the question's own."""
    steering_weight: float = Field(default=0.5, ge=0)
    """Weight a of the steering vector in the untrained prediction unit(q + a s); learned from there."""


class ScorerConfig(_Section):
    """Shape of a `FilterAwareScorer`."""

    category_weight: float = Field(default=0.01, gt=0)
    """Initial weight b of the log probability of a source's category under the steering; learned from there."""
    category_temperature: float = Field(default=0.02, gt=0)
    """Initial softmax temperature of the cosines between steering and category descriptions; learned from there."""
    category_floor: float = Field(default=0.01, gt=0, lt=1)
    """Initial share of that probability that is spread evenly, so that no category is ruled out; learned from there."""
    map_rate: float = Field(default=4.0, gt=0)
    """Factor of the learning rate for the two linear maps."""
    scalar_rate: float = Field(default=80.0, gt=0)
    """Factor of the learning rate for the three numbers above, which have further to go than entries of a matrix."""
    steering_dimension: int | None = Field(default=None, ge=1)
    """Width of steering vectors that are no embeddings, such as a state; a learned linear map makes them such. None for
    embeddings, which need no map."""
    residual: Literal["none", "plain", "auto"] = "none"
    """Add the plain predictor, of the shape under `predictor`, to the query: no, yes, or as validation prefers."""
    filter: Literal["joint", "staged", "auto"] = "auto"
    """Train the maps and the filter in one softmax; or the map of questions first, without steering, and then choose on
    validation what being of the category nearest to the steering adds to a score; or as validation prefers."""

    @property
    def can_be_staged(self) -> bool:
        """Whether these settings allow two stages, which know neither a residual nor a map of the steering."""
        return self.residual != "plain" and self.steering_dimension is None

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if self.filter == "staged" and not self.can_be_staged:
            raise ValueError("filter 'staged' knows neither residual 'plain' nor a steering_dimension; set 'joint'")
        return self


class RouterConfig(_Section):
    """Subspace routing and the bound of the fine part of a `RoutedPredictor`."""

    question_scale: float = Field(default=10.0, gt=0)
    """Initial factor of the cosine between question and centroid in the routing logits; learned from there."""
    steering_scale: float = Field(default=10.0, gt=0)
    """Initial factor of the cosine between steering and category description; learned from there."""
    temperature_start: float = Field(default=1.0, gt=0)
    """Gumbel-softmax temperature at the first step of training."""
    temperature_end: float = Field(default=0.1, gt=0)
    """Gumbel-softmax temperature at the last step of training (cosine in between)."""
    prior_weight: float = Field(default=0.05, ge=0)
    """Initial weight of the log of a subspace's routing weight in the scores of its sources; learned from there."""
    prior_floor: float = Field(default=0.01, gt=0, lt=1)
    """Share of the routing weights that is spread evenly before the logarithm, so that no subspace is ruled out."""
    coarse_share: float = Field(default=0.05, gt=0, lt=1)
    """Initial length of the coarse part relative to the question's; learned per sample from there."""
    fine_radius: float = Field(default=20.0, gt=0)
    """Greatest length of the fine part, in lengths of the centroids (which are 1)."""


class EMAConfig(_Section):
    """Schedule of the averaged target encoder."""

    tau_start: float = Field(default=0.996, ge=0, le=1)
    """Share of the old target that a step keeps, at the first step."""
    tau_end: float = Field(default=0.999, ge=0, le=1)
    """Share of the old target that a step keeps, at the last step (cosine in between)."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.tau_start > self.tau_end:
            raise ValueError(f"tau_start {self.tau_start} must not exceed tau_end {self.tau_end}")
        return self


class LossConfig(_Section):
    """Weights and constants of the training objective; a weight of 0 leaves a term out."""

    info_nce: float = Field(default=1.0, ge=0)
    """Weight of the contrastive term."""
    negatives: Literal["auto", "batch", "corpus", "corpus_all"] = "auto"
    """Contrast with the batch's sources and mined ones; with the sources of all training pairs; with every source there
    is, those of validation and test included; or with what validation prefers of the first two."""
    num_negatives: int = Field(default=0, ge=0)
    """Mined negatives per pair, which the trainer must be given; only where the batch's sources are contrasted."""
    mined_negatives: Literal["per_row", "shared"] = "per_row"
    """Contrast each pair with its own mined negatives, or with those of the whole batch."""
    temperature: float = Field(default=0.05, gt=0)
    """Initial softmax temperature of cosines."""
    learn_temperature: bool = True
    """Adjust the temperature by gradient, within [0.01, 1]."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target probability spread over all candidates of the contrastive term."""
    regression: float = Field(default=0.0, ge=0)
    """Weight of the distance between prediction and true source."""
    regression_kind: Literal["cosine", "smooth_l1"] = "cosine"
    """How that distance is measured."""
    centroid: float = Field(default=0.0, ge=0)
    """Weight of the cross-entropy of the true source's category under cosines to all centroids."""
    centroid_temperature: float = Field(default=0.1, gt=0)
    """Softmax temperature of that term."""
    steering: float = Field(default=0.0, ge=0)
    """Weight of teaching each category's description to find the sources filed under it, which needs no pairs."""
    steering_sources: int = Field(default=1024, ge=1)
    """Sources drawn per step for that term."""
    vicreg: float = Field(default=0.0, ge=0)
    """Weight of the variance-invariance-covariance term."""
    sigreg: float = Field(default=0.0, ge=0)
    """Weight of the sketched isotropic Gaussian regularisation of predictions."""
    sigreg_directions: int = Field(default=256, ge=1)
    """Random directions that each step looks at for that term."""
    regression_epochs: int = Field(default=0, ge=0)
    """Epochs at the start in which the distance to the true source is all that is trained."""
    routing: float = Field(default=0.2, ge=0)
    """Weight of the router's cross-entropy with the true source's category (routed model only)."""
    load_balance: float = Field(default=0.01, ge=0)
    """Weight of keeping the batch-mean of the routing weights spread (routed model only)."""
    routing_confidence: float = Field(default=0.01, ge=0)
    """Weight of making each sample's routing weights certain (routed model only)."""
    residual: float = Field(default=0.01, ge=0)
    """Weight of the penalty on fine parts longer than `residual_margin` (routed model only)."""
    residual_margin: float = Field(default=5.0, ge=0)
    """Length, in lengths of a centroid, up to which a fine part costs nothing."""
    disentanglement: float = Field(default=0.01, ge=0)
    """Weight of decorrelating the subspaces' routing weights (routed model only)."""


class CurriculumConfig(_Section):
    """Shares of the steering kinds among training examples, from the first epoch to the last of the ramp."""

    none_start: float = Field(default=0.5, ge=0, le=1)
    """Share of examples without steering in the first epoch."""
    none_end: float = Field(default=0.3, ge=0, le=1)
    """Share of examples without steering from the end of the ramp on."""
    wrong_start: float = Field(default=0.1, ge=0, le=1)
    """Share of examples steered to a category that is not the true one, in the first epoch."""
    wrong_end: float = Field(default=0.3, ge=0, le=1)
    """Share of examples steered to a category that is not the true one, from the end of the ramp on."""
    near_share: float = Field(default=0.5, ge=0, le=1)
    """Share of wrong categories that are drawn from the true one's nearest neighbours, not from all."""
    ramp_epochs: int = Field(default=10, ge=1)
    """Epochs in which the shares go linearly from start to end."""
    category: float = Field(default=1.0, ge=0)
    """Relative weight of the category's description among truly steered examples."""
    keywords: float = Field(default=0.0, ge=0)
    """Relative weight of typed keywords among truly steered examples."""
    residual: float = Field(default=0.0, ge=0)
    """Relative weight of unit(description - question) among truly steered examples."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        for none, wrong in ((self.none_start, self.wrong_start), (self.none_end, self.wrong_end)):
            if none + wrong > 1:
                raise ValueError(f"shares of none ({none}) and wrong ({wrong}) must not exceed 1 together")
        if not self.category + self.keywords + self.residual:
            raise ValueError("one of category, keywords and residual needs a weight above 0")
        return self


class JEPATrainingConfig(_Section):
    """Optimisation."""

    epochs: int = Field(default=16, ge=1)
    """Passes over the training pairs at most."""
    batch_size: int = Field(default=256, ge=2)
    """Pairs per step."""
    batches: Literal["random", "balanced"] = "random"
    """Take each pair once an epoch, or draw as many pairs so that all categories are equally frequent."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay of AdamW."""
    warmup_epochs: int = Field(default=2, ge=0)
    """Epochs in which the learning rate rises linearly; then it falls as a cosine to 1 % of its peak."""
    max_gradient_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    average_tau: float = Field(default=0.98, ge=0, lt=1)
    """Share of the old averaged predictor that a step keeps; 0 validates and keeps the latest weights."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a better validation score after which training stops."""
    checkpoint_epochs: int = Field(default=5, ge=1)
    """Epochs between checkpoints; one is always written when training stops."""
    unreliable_share: float = Field(default=0.3, ge=0, le=1)
    """Share of validation questions whose category is wrong or missing in the `unreliable` validation mode."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train. Runs on `cuda` resume, but not bit for bit."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of products in training; weights and searching stay float32."""
    seed: int = Field(default=0, ge=0)
    """Seed of initial weights, order of pairs, dropout, routing noise, directions and curriculum."""

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} must not exceed epochs {self.epochs}: the learning rate would "
                "never reach its peak"
            )
        return self


class JEPAConfig(_Section):
    """A whole training run."""

    model: Literal["scorer", "plain", "routed"] = "scorer"
    """Kind of predictor: `FilterAwareScorer`, `SteeredPredictor`, or `RoutedPredictor` with its subspace router."""
    target: Literal["frozen", "projection"] = "frozen"
    """Predict in the index's own space, or in that of a shared projection that is trained along (EMA target)."""
    predictor: PredictorConfig = PredictorConfig()
    """Shape of the predictor."""
    scorer: ScorerConfig = ScorerConfig()
    """The scorer; unused by the other models."""
    router: RouterConfig = RouterConfig()
    """Routing; unused by the other models."""
    ema: EMAConfig = EMAConfig()
    """Target averaging; unused with a frozen target."""
    loss: LossConfig = LossConfig()
    """Objective."""
    curriculum: CurriculumConfig = CurriculumConfig()
    """Steering kinds in training."""
    training: JEPATrainingConfig = JEPATrainingConfig()
    """Optimisation."""

    @model_validator(mode="after")
    def _centroids_are_exact(self) -> Self:
        if self.model == "routed" and self.target == "projection":
            raise ValueError("model 'routed' needs target 'frozen': a projection would move its exact centroids")
        if self.model == "scorer" and self.target == "projection":
            raise ValueError("model 'scorer' needs target 'frozen': it has a map of the sources of its own")
        return self

    @model_validator(mode="after")
    def _losses_apply(self) -> Self:
        loss = self.loss
        if loss.num_negatives and loss.negatives not in ("auto", "batch"):
            raise ValueError(f"loss.num_negatives {loss.num_negatives} needs negatives 'batch' or 'auto'")
        if loss.steering and self.model == "scorer":
            raise ValueError("loss.steering teaches predictors; model 'scorer' learns it within its softmax, so set 0")
        if loss.regression_epochs >= self.training.epochs:
            raise ValueError(
                f"loss.regression_epochs {loss.regression_epochs} must be below training.epochs {self.training.epochs}"
            )
        return self

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Read a configuration; keys that are left out have their defaults.

        Raises:
            FileNotFoundError: there is no such file.
            ConfigError: not YAML, or a key is unknown or its value not allowed.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not YAML: {_short(str(error))}") from error
        if content is not None and not isinstance(content, dict):
            raise ConfigError(f"{path} must hold sections such as 'predictor:', not {_short(repr(content))}")
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "the whole file"
            message = f"{path}, key {_short(key)!r}: {first['msg']}, but found {_short(repr(first['input']))}"
            if first["type"] == "extra_forbidden":
                message += f"; the keys there are {', '.join(_keys_beside(cls, first['loc']))}"
            raise ConfigError(message) from error


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return names of the keys allowed where `location` points."""
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
