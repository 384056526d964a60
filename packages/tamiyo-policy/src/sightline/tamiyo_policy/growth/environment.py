"""Growth in stacks of small hosts, all of whose state can be saved: the environment that policies are trained in.

What a step does is told in `networks_environment`.
"""

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.governor import GovernorState
from sightline.tamiyo_policy.growth.networks_environment import NetworksEnvironment
from sightline.tamiyo_policy.growth.observation import HostSignals
from sightline.tamiyo_policy.growth.snapshots import HostSnapshots
from sightline.tamiyo_policy.hosts.blueprints import Blueprint, token_blueprints
from sightline.tamiyo_policy.hosts.digits import ClassificationData
from sightline.tamiyo_policy.hosts.hosts import Host, TokenHost
from sightline.tamiyo_policy.hosts.slots import SlotStates
from sightline.tamiyo_policy.hosts.training import StackedTraining


class GrowthEnvironment(NetworksEnvironment):
    """E growing hosts as one vectorised environment; see `NetworksEnvironment` for its attributes and methods.

    Only the networks live on the device.

    Args:
        workers: threads that share the hosts among them; see `StackedTraining`.
        counterfactuals: whether contributions, gains and interactions are measured; else they are 0, which is faster.
    """

    def __init__(
        self,
        data: ClassificationData,
        num_envs: int,
        *,
        config: GrowthConfig | None = None,
        host: Host | None = None,
        blueprints: Mapping[int, Blueprint] | None = None,
        channels: int = 8,
        device: torch.device | str = "cpu",
        workers: int = 1,
        counterfactuals: bool = True,
    ) -> None:
        config = config or GrowthConfig()
        modules = token_blueprints(channels, data.tokens) if blueprints is None else blueprints
        stacked = StackedTraining(
            data,
            host or TokenHost(data.channels, data.tokens, data.num_classes, channels),
            modules,
            num_envs,
            channels=channels,
            config=config.training,
            device=device,
            workers=workers,
        )
        snapshots = HostSnapshots(stacked.model)
        super().__init__(stacked, snapshots, config=config, counterfactuals=counterfactuals)
        self._training: StackedTraining = stacked
        self._snapshots: HostSnapshots = snapshots

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the future depends on, as tensors by name; a restored environment continues bit for bit."""
        families = [self._training.families.index(family) for family in self._families]
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self._training.model.state_dict(),
            "snapshot": self._snapshots.state_dict(),
            "slots": self.slots.state_dict(),
            "signals": {field.name: getattr(self.signals, field.name).clone() for field in fields(self.signals)},
            "governor": {field.name: getattr(self._governor, field.name).clone() for field in fields(self._governor)},
            "episode": {
                "seeds": torch.tensor(self._training.seeds),
                "families": torch.tensor(families),
                "time": torch.tensor(self._time),
                "gain": self._gain.clone(),
                "score": self._score.clone(),
                "spent": self._budget.spent.clone(),
            },
        }
        return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue where `state_dict` was taken, in an environment with the same data, host and config.

        Raises:
            ValueError: a tensor is missing, unknown or of another shape; the environment is unchanged then.
        """
        mine = {name: tensor.shape for name, tensor in self.state_dict().items()}
        theirs = {name: tensor.shape for name, tensor in tensors.items()}
        if mine != theirs:
            differing = sorted(name for name, _ in set(mine.items()) ^ set(theirs.items()))
            raise ValueError(f"the saved environment differs from this one in {sorted(set(differing))[:10]}")

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}/"): tensors[key] for key in tensors if key.startswith(f"{name}/")}

        episode = part("episode")
        self._training.model.load_state_dict(part("model"))
        self._snapshots.load_state_dict(part("snapshot"))
        self._time = int(episode["time"])
        self._training.restore(episode["seeds"].tolist(), step=max(self._time - 1, 0))
        self._budget.start(self._training.allowances())
        self._budget.spent = episode["spent"].clone()
        self._families = [self._training.families[index] for index in episode["families"].tolist()]
        self.slots = SlotStates.from_state_dict(part("slots"))
        self.signals = HostSignals(**{name: tensor.clone() for name, tensor in part("signals").items()})
        self._governor = GovernorState(**{name: tensor.clone() for name, tensor in part("governor").items()})
        self._gain, self._score = episode["gain"].clone(), episode["score"].clone()
