import numpy as np
import pytest

from sightline.tamiyo_policy.growth.topologies import (
    TopologyRun,
    all_topologies,
    train_topologies,
)
from sightline.tamiyo_policy.hosts.blueprints import token_blueprints
from sightline.tamiyo_policy.hosts.config import HostTrainingConfig
from sightline.tamiyo_policy.hosts.hosts import TokenHost
from sightline.tamiyo_policy.hosts.operations import LORA, MLP, NORM

CONFIG = HostTrainingConfig(steps=4, minibatches=2, batch_size=16)
RUNS = [TopologyRun(topology, "B", 1) for topology in [(0, 0, 0), (MLP, 0, NORM), (0, LORA, 0)]]


def results(data, runs, **options):
    stages = train_topologies(runs, data, TokenHost(), token_blueprints(), channels=8, training=CONFIG, **options)
    return [result for stage in stages for result in stage]


def test_there_are_seven_to_the_third_topologies():
    topologies = all_topologies(token_blueprints(), 3)
    assert len(set(topologies)) == len(topologies) == 343


def test_results_do_not_depend_on_what_is_trained_beside(small_digits):
    together, alone = results(small_digits, RUNS), results(small_digits, RUNS, stack=1)
    assert [result.run for result in together] == RUNS == [result.run for result in alone]
    np.testing.assert_allclose([r.score for r in together], [r.score for r in alone], atol=1.7)


def test_the_score_charges_rent_for_the_modules(small_digits):
    for result in results(small_digits, RUNS):
        assert result.score == pytest.approx(result.accuracy - 5 * np.log(1 + result.parameters / 1234))
    assert [result.parameters for result in results(small_digits, RUNS)] == [0, 561, 32]


def test_rent_can_be_measured_by_one_number_for_all_hosts(small_digits):
    for result in results(small_digits, RUNS, reference_parameters=466):
        assert result.score == pytest.approx(result.accuracy - 5 * np.log(1 + result.parameters / 466))


def test_the_test_part_is_read_only_when_asked_for(small_digits):
    assert all(np.isnan(result.test_accuracy) for result in results(small_digits, RUNS))
    assert all(0 <= result.test_accuracy <= 100 for result in results(small_digits, RUNS, read_test=True))


@pytest.mark.parametrize("topology", [(0, 0), (0, 0, 5)])
def test_a_topology_that_does_not_fit_is_refused(small_digits, topology):
    with pytest.raises(ValueError, match="must name 3 blueprints"):
        results(small_digits, [TopologyRun(topology, "A", 0)])
