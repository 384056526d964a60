from __future__ import annotations

import subprocess
import sys

NEEDED_BY_SETTINGS = """
import sys
from sightline.tamiyo_policy import GrowthConfig, GrowthTrainingConfig, PPOConfig, RecurrentPPOConfig
from sightline.tamiyo_policy.experiment import Episode, GrowthRecord, episodes_from
from sightline.tamiyo_policy.growth import GovernorConfig, HeuristicConfig, RewardConfig, ShapedRewardConfig
from sightline.tamiyo_policy.hosts import ATTENTION, LifecycleConfig, Op
GrowthTrainingConfig().model_dump_json(), GrowthConfig().model_dump_json()
print(sorted({"torch", "gymnasium", "numba", "matplotlib"} & {*sys.modules}))
"""


def test_settings_and_records_are_had_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", NEEDED_BY_SETTINGS], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
