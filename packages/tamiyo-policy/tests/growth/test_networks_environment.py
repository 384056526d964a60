import torch

from sightline.tamiyo_policy.growth.config import GrowthConfig
from sightline.tamiyo_policy.growth.environment import GrowthEnvironment
from sightline.tamiyo_policy.growth.heuristic import random_legal_actions
from sightline.tamiyo_policy.growth.networks import GrowingNetworks
from sightline.tamiyo_policy.growth.networks_environment import NetworksEnvironment
from sightline.tamiyo_policy.growth.snapshots import HostSnapshots
from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.training import StackedTraining

CONFIG = GrowthConfig(training=HostTrainingConfig(steps=8, minibatches=1, batch_size=8))


class Only:
    """Networks that offer what the protocol names, and nothing else."""

    def __init__(self, networks: object) -> None:
        self._networks = networks

    def __getattr__(self, name: str) -> object:
        if name not in vars(GrowingNetworks):
            raise AttributeError(f"{name} is not in the protocol")
        return getattr(self._networks, name)


def test_an_environment_asks_of_networks_what_the_protocol_names_and_no_more(small_digits) -> None:
    data = small_digits
    host = TokenHost(data.channels, data.tokens, data.num_classes)
    stacked = StackedTraining(data, host, token_blueprints(), 2, channels=8, config=CONFIG.training)
    general = NetworksEnvironment(Only(stacked), HostSnapshots(stacked.model), config=CONFIG)  # ty: ignore[invalid-argument-type]
    special = GrowthEnvironment(data, 2, config=CONFIG)
    seen = [environment.reset([3, 4], ["A", "C"]) for environment in (general, special)]
    for step in range(CONFIG.training.steps):
        actions = random_legal_actions(seen[0].masks, general.action_space, torch.Generator().manual_seed(step))
        taken = [environment.step(actions) for environment in (general, special)]
        seen = [each.observation for each in taken]
        assert torch.equal(seen[0].features, seen[1].features)
        assert torch.equal(taken[0].reward, taken[1].reward)
    assert (general.test_accuracy() == special.test_accuracy()).all()
