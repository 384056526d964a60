"""The ensemble of small networks behind `fit_predictor`: one trunk, a head for each thing that is predicted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.files import atomic_file
from sightline.teachability.jsonl import RecordError
from sightline.teachability.predictor.targets import (
    CLASSES,
    NUMBERS,
    PREDICTOR_FILE,
    PredictorConfig,
    Scaler,
    Targets,
)

try:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load, save
    from torch import nn
except ImportError as error:
    raise ImportError("networks need an extra: pip install 'sightline-teachability[training]'") from error

Floats = NDArray[np.float64]

_WEIGHTS = "networks.safetensors"
_BATCH = 64
_SIZES = {**dict.fromkeys(NUMBERS, 1), **CLASSES}
_HELD_OUT = 10
"""Every so manieth example decides when to stop."""


class _Network(nn.Module):
    def __init__(self, inputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
            inputs = width
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.Linear(inputs, sum(_SIZES.values()))

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = self.heads(self.trunk(features)).split(list(_SIZES.values()), dim=1)
        return dict(zip(_SIZES, parts, strict=True))


class NetworkPredictor:
    """Mean of an ensemble; its spread is the standard deviation of the members' ELP.

    Args:
        scaler: of the features.
        centres: per number, the (mean, scale) of its targets; heads that had none are not in it.
        classes: class heads that had targets.
        networks: the members.
        config: how they were made.
    """

    def __init__(
        self,
        scaler: Scaler,
        centres: dict[str, tuple[float, float]],
        classes: Sequence[str],
        networks: Sequence[_Network],
        config: PredictorConfig,
    ) -> None:
        self._scaler = scaler
        self._centres = centres
        self._classes = tuple(classes)
        self._networks = list(networks)
        self._config = config

    @classmethod
    def fit(cls, features: Floats, targets: Targets, config: PredictorConfig) -> NetworkPredictor:
        """Return a fitted ensemble; equal data and seed give equal weights."""
        scaler = Scaler.of(features)
        centres = {}
        for name, values in targets.numbers.items():
            known = values[~np.isnan(values)]
            if len(known):
                centres[name] = (float(known.mean()), float(known.std()) or 1.0)
        classes = [name for name, labels in targets.classes.items() if (labels >= 0).any()]
        design = torch.tensor(scaler(features), dtype=torch.float32)
        networks = [_fit_member(design, targets, centres, classes, config, member) for member in range(config.members)]
        return cls(scaler, centres, classes, networks, config)

    def predict(self, features: Floats) -> dict[str, Floats]:
        """Return numbers, class probabilities and the ensemble's disagreement about ELP."""
        design = torch.tensor(self._scaler(features), dtype=torch.float32)
        with torch.inference_mode():
            members = [network(design) for network in self._networks]
        answers: dict[str, Floats] = {}
        for name, (mean, scale) in self._centres.items():
            values = np.stack([one[name][:, 0].double().numpy() for one in members]) * scale + mean
            answers[name] = values.mean(axis=0)
            if name == "elp":
                answers["spread"] = values.std(axis=0)
        for name in self._classes:
            answers[name] = np.stack([one[name].double().softmax(-1).numpy() for one in members]).mean(axis=0)
        answers.setdefault("spread", np.zeros(len(features)))
        return answers

    def save_pretrained(self, folder: Path) -> None:
        """Write the model into a folder; the file that names the weights comes last."""
        tensors = {
            f"{member}.{name}": tensor.contiguous()
            for member, network in enumerate(self._networks)
            for name, tensor in network.state_dict().items()
        }
        with atomic_file(folder / _WEIGHTS) as file:
            file.write(save(tensors))
        content = {
            "schema_version": 1,
            "kind": "mlp",
            "config": self._config.model_dump(mode="json"),
            "mean": self._scaler.mean.tolist(),
            "scale": [None if np.isinf(one) else one for one in self._scaler.scale.tolist()],
            "centres": {name: list(pair) for name, pair in self._centres.items()},
            "classes": list(self._classes),
        }
        with atomic_file(folder / PREDICTOR_FILE) as file:
            file.write(json.dumps(content).encode())

    @classmethod
    def from_content(cls, content: dict[str, Any], folder: Path) -> NetworkPredictor:
        """Return the predictor of a folder.

        Raises:
            RecordError: the weights are missing, damaged or of other networks.
        """
        try:
            config = PredictorConfig.model_validate(content["config"])
            tensors = load((folder / _WEIGHTS).read_bytes())
            networks = []
            for member in range(config.members):
                network = _Network(len(content["mean"]), config.hidden, config.dropout).eval()
                prefix = f"{member}."
                network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
                networks.append(network)
        except (SafetensorError, OSError, KeyError, RuntimeError, ValueError) as error:
            raise RecordError(f"{folder / _WEIGHTS} does not belong to the predictor ({error}); train again") from error
        scale = np.array([np.inf if one is None else one for one in content["scale"]])
        centres = {name: (pair[0], pair[1]) for name, pair in content["centres"].items()}
        return cls(Scaler(np.array(content["mean"]), scale), centres, content["classes"], networks, config)


def _fit_member(
    design: torch.Tensor,
    targets: Targets,
    centres: dict[str, tuple[float, float]],
    classes: Sequence[str],
    config: PredictorConfig,
    member: int,
) -> _Network:
    seeds = np.random.SeedSequence(config.seed, spawn_key=(member,)).generate_state(2)
    generator = np.random.default_rng(int(seeds[0]))
    order = generator.permutation(len(design))
    held, kept = order[::_HELD_OUT], np.delete(order, np.s_[::_HELD_OUT])
    if not len(kept):
        held = kept = order
    scaled = _Scaled(targets, centres, classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds[1]))
        network = _Network(design.shape[1], config.hidden, config.dropout)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True
        )
        best, best_state, waited = float("inf"), network.state_dict(), 0
        for _ in range(config.epochs):
            network.train()
            for part in np.array_split(generator.permutation(kept), -(-len(kept) // _BATCH)):
                loss = scaled.loss(network(design[torch.from_numpy(part)]), part)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            network.eval()
            with torch.inference_mode():
                now = float(scaled.loss(network(design[torch.from_numpy(held)]), held))
            if now < best:
                best, waited = now, 0
                best_state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            else:
                waited += 1
                if waited >= config.patience:
                    break
    network.load_state_dict(best_state)
    return network.eval()


class _Scaled:
    """Targets as tensors, numbers in units of their spread; what was not measured weighs nothing."""

    def __init__(self, targets: Targets, centres: dict[str, tuple[float, float]], classes: Sequence[str]) -> None:
        self._names = list(centres)
        columns, weights = [], []
        for name, (mean, scale) in centres.items():
            known = ~np.isnan(targets.numbers[name])
            columns.append(np.where(known, (targets.numbers[name] - mean) / scale, 0.0))
            weights.append(np.where(known, targets.weights[name], 0.0))
        rows = len(next(iter({**targets.numbers, **targets.classes}.values())))
        self._values = torch.tensor(np.array(columns).reshape(-1, rows).T, dtype=torch.float32)
        self._weights = torch.tensor(np.array(weights).reshape(-1, rows).T, dtype=torch.float32)
        self._classes = {name: torch.tensor(targets.classes[name]) for name in classes}

    def loss(self, answers: dict[str, torch.Tensor], rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the sum over the heads of mean losses on what was measured among these rows."""
        index = torch.from_numpy(rows)
        total = answers["elp"].sum() * 0.0
        if self._names:
            guess = torch.cat([answers[name] for name in self._names], dim=1)
            weights = self._weights[index]
            errors = (weights * (guess - self._values[index]) ** 2).sum(0) / weights.sum(0).clamp_min(1e-9)
            total = total + errors.sum()
        for name, labels in self._classes.items():
            truth = labels[index]
            if bool((truth >= 0).any()):
                total = total + nn.functional.cross_entropy(answers[name], truth, ignore_index=-1)
        return total
