from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sightline.tamiyo_policy.compat.config import PolicyConfig
from sightline.tamiyo_policy.experiment.config import GrowthTrainingConfig
from sightline.tamiyo_policy.experiment.records import EVALUATION_SEED, SELECTION_SEED, TRAINING_SEEDS
from sightline.tamiyo_policy.growth.config import GrowthConfig, HeuristicConfig
from sightline.tamiyo_policy.hosts.config import REFERENCE_LIFECYCLE
from sightline.tamiyo_policy.ppo.config import RecurrentPPOConfig

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


LEARNING = """
import sys
from sightline.tamiyo_policy import RecurrentPPO
from sightline.tamiyo_policy.tasks import RepeatPrevious
trainer = RecurrentPPO(RepeatPrevious(2), num_steps=4, hidden_dim=8)
trainer.learn(8)
trainer.evaluate(RepeatPrevious(2), 2)
print(sorted(name for name in sys.modules if name.startswith("sightline.") and name.split(".")[2:3] in GROWTH))
"""


def test_the_general_learner_loads_nothing_of_growth() -> None:
    code = f"GROWTH = {[['growth'], ['hosts'], ['experiment'], ['compat']]!r}\n{LEARNING}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


GOLDEN = Path(__file__).parent / "golden" / "settings.json"
"""Every default. Results that were published depend on them: change one on purpose only and say so in the changelog."""


def test_defaults_are_those_that_results_were_published_with() -> None:
    configs = {
        "growth": GrowthConfig(),
        "training": GrowthTrainingConfig(),
        "learner": RecurrentPPOConfig(),
        "policy": PolicyConfig(),
        "heuristic": HeuristicConfig(rotation=(3,)),
        "reference_lifecycle": REFERENCE_LIFECYCLE,
    }
    found = {name: config.model_dump(mode="json") for name, config in configs.items()}
    found["seeds"] = {"training_below": TRAINING_SEEDS, "evaluation": EVALUATION_SEED, "selection": SELECTION_SEED}
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))
