"""A reward that is learnt from purchases and read off pages: boosted trees, as sure as several fits of them agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sightline.agents.grammar import Purchase
from sightline.agents.planning.environments.boosting import BoostedTrees, fit_trees
from sightline.agents.planning.environments.features import FEATURES, features
from sightline.retrieval.files import atomic_files
from sightline.retrieval.jsonl import parse_record

_CONFIG_FILE, _TREES_FILE = "config.json", "trees.safetensors"
_ABOVE = 1.25  # an upper bound that estimates do not reach, so that none ends a search as if it were certain


class RewardModelConfig(BaseModel):
    """How a reward model was made and how it judges."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    members: int = Field(default=8, ge=1)
    """Trees' ensembles, each fitted to purchases of other goals drawn with replacement."""
    trees: int = Field(default=120, ge=1)
    """Trees of each member."""
    depth: int = Field(default=4, ge=1, le=8)
    """Depth of each tree."""
    pessimism: float = Field(default=1.0, ge=0)
    """Standard deviations among members that are taken off their mean."""
    features: tuple[str, ...] = FEATURES
    """Names of what it sees of a purchase."""


class RewardModel:
    """Judges purchases by what their pages say; HONEST, see `Rewards`.

    Args:
        config: how it judges.
        members: the ensembles.
    """

    is_oracle = False

    def __init__(self, config: RewardModelConfig, members: Sequence[BoostedTrees]) -> None:
        if config.features != FEATURES:
            raise ValueError("this reward model was made for other features; fit it anew")
        self.config = config
        self._members = tuple(members)
        # All members' trees in one: a search asks about few purchases at a time, where every call costs.
        self._bases = np.array([member.base for member in members])
        self._trees = BoostedTrees(
            0.0,
            np.concatenate([member.feature for member in members]),
            np.concatenate([member.threshold for member in members]),
            np.concatenate([member.leaf for member in members]),
        )
        self.bounds: tuple[float, float] | None = (0.0, _ABOVE)

    @classmethod
    def fit(
        cls,
        purchases: Sequence[Purchase],
        rewards: Sequence[float],
        goals: Sequence[int],
        *,
        config: RewardModelConfig | None = None,
        seed: int = 0,
    ) -> RewardModel:
        """Learn from purchases whose rewards are known, each goal counting alike.

        Args:
            purchases: purchases of training goals only.
            rewards: what they earned, in [0, 1].
            goals: which goal each was made for.
            config: how.
            seed: seed of the draws of goals.

        Raises:
            ValueError: there are fewer than two goals, or not as many rewards and goals as purchases.
        """
        config = config or RewardModelConfig()
        if not len(purchases) == len(rewards) == len(goals):
            raise ValueError(f"{len(purchases)} purchases need as many rewards and goals: {len(rewards)}, {len(goals)}")
        distinct, owner, sizes = np.unique(goals, return_inverse=True, return_counts=True)
        if len(distinct) < 2:
            raise ValueError(f"a reward model needs purchases of at least two goals, not {len(distinct)}")
        rows, targets = features(purchases), np.asarray(rewards, np.float64)
        members = []
        for sequence in np.random.SeedSequence(seed).spawn(config.members):
            rng = np.random.default_rng(sequence)
            drawn = np.bincount(rng.integers(0, len(distinct), len(distinct)), minlength=len(distinct))
            # Scaled so that an average row weighs 1, which is what the trees' least weights are made for.
            weights = (drawn / sizes)[owner]
            weights *= len(rows) / weights.sum()
            members.append(fit_trees(rows, targets, weights, trees=config.trees, depth=config.depth))
        return cls(config, members)

    def with_pessimism(self, pessimism: float) -> RewardModel:
        """Return the same model with another caution."""
        return RewardModel(self.config.model_copy(update={"pessimism": pessimism}), self._members)

    def score(
        self, instruction: str, title: str, chosen: Sequence[str], prices: tuple[float, float], details: str = ""
    ) -> float:
        """Return what one purchase seems to be worth; see `Purchase`."""
        purchase = Purchase(instruction, title, details, prices, (), frozenset(chosen))
        return float(self.judge([purchase])[0])

    def judge(self, purchases: Sequence[Purchase]) -> NDArray[np.float64]:
        """Return a cautious estimate of every purchase's reward, `[purchases]`: mean - pessimism x deviation."""
        mean, deviation = self.estimate(purchases)
        return np.clip(mean - self.config.pessimism * deviation, 0.0, _ABOVE - 0.05)

    def estimate(self, purchases: Sequence[Purchase]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation over the members, `[purchases]` each."""
        rows = features(purchases)
        leaves = self._trees.leaf_values(rows).reshape(len(rows), len(self._members), -1)
        judged = (self._bases + leaves.sum(axis=2)).T
        return judged.mean(axis=0), judged.std(axis=0)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write `config.json` and `trees.safetensors`."""
        from safetensors.numpy import save

        arrays = {
            "base": np.array([member.base for member in self._members]),
            **{
                name: np.stack([getattr(member, name) for member in self._members])
                for name in ("feature", "threshold", "leaf")
            },
        }
        paths = Path(folder) / _CONFIG_FILE, Path(folder) / _TREES_FILE
        with atomic_files(*paths) as (config, trees):
            config.write(self.config.model_dump_json(indent=2).encode())
            trees.write(save(arrays))

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> RewardModel:
        """Read what `save_pretrained` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            RecordError: the configuration is not one.
            ValueError: it was made for other features.
        """
        from safetensors.numpy import load

        path = Path(folder) / _CONFIG_FILE
        config = parse_record(RewardModelConfig, path.read_bytes(), where=str(path))
        arrays = load((Path(folder) / _TREES_FILE).read_bytes())
        parts = zip(arrays["base"].tolist(), arrays["feature"], arrays["threshold"], arrays["leaf"], strict=True)
        return cls(config, [BoostedTrees(*part) for part in parts])
