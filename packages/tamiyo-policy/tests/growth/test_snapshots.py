import numpy as np
import torch

from sightline.tamiyo_policy.growth.governor import RestorableHosts
from sightline.tamiyo_policy.growth.snapshots import HostSnapshots
from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.operations import MLP
from sightline.tamiyo_policy.hosts.stacked.autograd import AutogradModel


def build():
    model = AutogradModel(TokenHost(), token_blueprints(), 3, channels=8)
    for network in range(3):
        model.draw_host(network, "A", np.random.default_rng(network))
        model.plant(network, 0, MLP, np.random.default_rng(network))
        model.plant(network, 1, MLP, np.random.default_rng(network + 9))
    snapshots: RestorableHosts = HostSnapshots(model)
    assert isinstance(snapshots, HostSnapshots)
    snapshots.start()
    return model, snapshots


def test_a_rollback_restores_hosts_and_fossils_where_it_is_asked_for_and_nothing_else():
    model, snapshots = build()
    host, seeds = model.host_parameters.clone(), model.seed_parameters.clone()
    fossils = torch.zeros(3, 3, dtype=torch.bool)
    fossils[:, 0] = True
    snapshots.keep_fossils(fossils)
    snapshots.take_snapshot(torch.ones(3).bool())
    model.host_parameters += 1
    model.seed_parameters += 1
    snapshots.restore_snapshot(torch.tensor([True, False, True]))
    assert torch.equal(model.host_parameters[[0, 2]], host[[0, 2]])
    assert torch.equal(model.host_parameters[1], host[1] + 1)
    assert torch.equal(model.seed_parameters[[0, 2], 0], seeds[[0, 2], 0])
    assert torch.equal(model.seed_parameters[:, 1], seeds[:, 1] + 1)


def test_a_snapshot_replaces_the_one_before_where_it_is_taken():
    model, snapshots = build()
    first = model.host_parameters.clone()
    model.host_parameters += 1
    snapshots.take_snapshot(torch.tensor([False, True, False]))
    model.host_parameters += 1
    snapshots.restore_snapshot(torch.ones(3).bool())
    assert torch.equal(model.host_parameters, first + torch.tensor([0.0, 1.0, 0.0])[:, None])


def test_clearing_optimizers_forgets_host_and_seeds_where_it_is_asked_for():
    model, snapshots = build()
    for state in (model.host_adam, model.seed_adam):
        for moments in (state.mean, state.square, state.steps):
            moments += 1
    snapshots.clear_optimizers(torch.tensor([True, False, False]))
    for state in (model.host_adam, model.seed_adam):
        for moments in (state.mean, state.square, state.steps):
            assert not moments[0].any()
            assert bool((moments[1:] == 1).all())
