"""What the governor goes back to: the last good parameters of hosts and their fossils.

Snapshots live in the memory of the CPU. Knows nothing about when they are taken or put back.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sightline.tamiyo_policy.hosts.stacked.model import StackedModel


class HostSnapshots:
    """One snapshot of each host of a stack; it satisfies `governor.RestorableHosts`.

    A snapshot leaves out seeds that are no fossils: these are pruned by a rollback.
    """

    def __init__(self, model: StackedModel) -> None:
        self._model = model
        self._fossils = torch.zeros(model.seed_parameters.shape[:2], dtype=torch.bool)
        self._host = model.host_parameters.cpu().clone()
        self._seeds = model.seed_parameters.cpu().clone()

    def start(self) -> None:
        """Remember all hosts as they are, without fossils."""
        self._fossils = torch.zeros_like(self._fossils)
        self.take_snapshot(torch.ones(len(self._fossils), dtype=torch.bool))

    def keep_fossils(self, fossils: Tensor) -> None:
        """Say which seeds, bool [E, K], belong to the hosts for good."""
        self._fossils = fossils.clone()

    def take_snapshot(self, where: Tensor) -> None:
        """Remember the parameters of some hosts and their fossils, in place of what was remembered before.

        Args:
            where: bool [E].
        """
        self._host[where] = self._model.host_parameters.cpu()[where]
        kept = where[:, None] & self._fossils
        self._seeds[kept] = self._model.seed_parameters.cpu()[kept]

    def restore_snapshot(self, where: Tensor) -> None:
        """Put the remembered parameters of some hosts and their fossils back.

        Args:
            where: bool [E].
        """
        device = self._model.device
        self._model.host_parameters[where.to(device)] = self._host[where].to(device)
        kept = where[:, None] & self._fossils
        self._model.seed_parameters[kept.to(device)] = self._seeds[kept].to(device)

    def clear_optimizers(self, where: Tensor) -> None:
        """Forget the optimiser state of some hosts and of all their seeds.

        Args:
            where: bool [E].
        """
        at = where.to(self._model.device)
        self._model.host_adam.clear(at)
        self._model.seed_adam.clear(at[:, None].expand(-1, self._fossils.shape[1]))

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of all tensors by name."""
        return {"fossils": self._fossils.clone(), "host": self._host.clone(), "seeds": self._seeds.clone()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        self._fossils = tensors["fossils"].clone()
        self._host, self._seeds = tensors["host"].clone(), tensors["seeds"].clone()
