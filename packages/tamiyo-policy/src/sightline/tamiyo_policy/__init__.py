"""Recurrent PPO with factored, masked actions, and a policy that grows neural networks while they train.

Start with `RecurrentPPO` on any Gymnasium vector environment, or with `GrowthEnvironment`. Names are imported on first
use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.tamiyo_policy.actions import (
        AlphaCurve,
        AlphaSpeed,
        AlphaTarget,
        FactoredActionSpace,
        Op,
        Style,
        Tempo,
        growth_action_space,
    )
    from sightline.tamiyo_policy.advantages import (
        generalised_advantages,
    )
    from sightline.tamiyo_policy.blueprints import (
        Blueprint,
        token_blueprints,
    )
    from sightline.tamiyo_policy.buffer import (
        RolloutBuffer,
        RolloutStep,
        Sequences,
    )
    from sightline.tamiyo_policy.bundle import (
        ActionResult,
        EvaluationResult,
        ForwardResult,
        LSTMPolicyBundle,
        PolicyBundle,
    )
    from sightline.tamiyo_policy.checkpoints import (
        CheckpointError,
        read_checkpoint,
        write_checkpoint,
    )
    from sightline.tamiyo_policy.digits import (
        ClassificationData,
        digits_data,
    )
    from sightline.tamiyo_policy.distribution import (
        FactoredDistribution,
    )
    from sightline.tamiyo_policy.environment import (
        GrowthEnvironment,
    )
    from sightline.tamiyo_policy.governor import (
        GovernorConfig,
    )
    from sightline.tamiyo_policy.growth import (
        GrowthConfig,
        GrowthStep,
    )
    from sightline.tamiyo_policy.growth_episodes import (
        Episode,
        GrowthEpisodes,
        episodes_from,
    )
    from sightline.tamiyo_policy.growth_evaluation import (
        GrowthRecord,
        play_episodes,
    )
    from sightline.tamiyo_policy.growth_training import (
        GrowthTrainingConfig,
        load_trained_policy,
        train_policy,
    )
    from sightline.tamiyo_policy.heuristic import (
        HeuristicConfig,
        HeuristicMemory,
        heuristic_actions,
        random_legal_actions,
    )
    from sightline.tamiyo_policy.hosts import (
        Host,
        HostDraw,
        TokenHost,
    )
    from sightline.tamiyo_policy.memory_tasks import (
        CuedGrowth,
        MaskedCartPole,
        MemoryTask,
        RepeatPrevious,
        TMaze,
    )
    from sightline.tamiyo_policy.network import (
        FactoredRecurrentActorCritic,
    )
    from sightline.tamiyo_policy.normalisation import (
        ObservationNormaliser,
        RewardScaler,
        ValueNormaliser,
    )
    from sightline.tamiyo_policy.observation import (
        ObservationLayout,
    )
    from sightline.tamiyo_policy.outputs import (
        ActionOutput,
        EvaluationOutput,
        ForwardOutput,
    )
    from sightline.tamiyo_policy.policy_config import (
        PolicyConfig,
    )
    from sightline.tamiyo_policy.ppo import (
        PPO,
        PPOConfig,
        StaleRolloutError,
    )
    from sightline.tamiyo_policy.recurrent_ppo import (
        RecurrentPPO,
        RecurrentPPOConfig,
    )
    from sightline.tamiyo_policy.registry import (
        create_policy,
        get_policy,
        list_policies,
        register_policy,
    )
    from sightline.tamiyo_policy.rewards import (
        RewardConfig,
        growth_score,
    )
    from sightline.tamiyo_policy.rollouts import (
        RolloutCollector,
        Situation,
    )
    from sightline.tamiyo_policy.shaped_reward import (
        ShapedRewardConfig,
    )
    from sightline.tamiyo_policy.slots import (
        AlphaMode,
        LifecycleConfig,
        Operator,
        SlotStates,
        Stage,
    )
    from sightline.tamiyo_policy.topologies import (
        TopologyResult,
        all_topologies,
        best_topologies,
        train_topologies,
    )

__all__ = [
    "PPO",
    "ActionOutput",
    "ActionResult",
    "AlphaCurve",
    "AlphaMode",
    "AlphaSpeed",
    "AlphaTarget",
    "Blueprint",
    "CheckpointError",
    "ClassificationData",
    "CuedGrowth",
    "Episode",
    "EvaluationOutput",
    "EvaluationResult",
    "FactoredActionSpace",
    "FactoredDistribution",
    "FactoredRecurrentActorCritic",
    "ForwardOutput",
    "ForwardResult",
    "GovernorConfig",
    "GrowthConfig",
    "GrowthEnvironment",
    "GrowthEpisodes",
    "GrowthRecord",
    "GrowthStep",
    "GrowthTrainingConfig",
    "HeuristicConfig",
    "HeuristicMemory",
    "Host",
    "HostDraw",
    "LSTMPolicyBundle",
    "LifecycleConfig",
    "MaskedCartPole",
    "MemoryTask",
    "ObservationLayout",
    "ObservationNormaliser",
    "Op",
    "Operator",
    "PPOConfig",
    "PolicyBundle",
    "PolicyConfig",
    "RecurrentPPO",
    "RecurrentPPOConfig",
    "RepeatPrevious",
    "RewardConfig",
    "RewardScaler",
    "RolloutBuffer",
    "RolloutCollector",
    "RolloutStep",
    "Sequences",
    "ShapedRewardConfig",
    "Situation",
    "SlotStates",
    "Stage",
    "StaleRolloutError",
    "Style",
    "TMaze",
    "Tempo",
    "TokenHost",
    "TopologyResult",
    "ValueNormaliser",
    "all_topologies",
    "best_topologies",
    "create_policy",
    "digits_data",
    "episodes_from",
    "generalised_advantages",
    "get_policy",
    "growth_action_space",
    "growth_score",
    "heuristic_actions",
    "list_policies",
    "load_trained_policy",
    "play_episodes",
    "random_legal_actions",
    "read_checkpoint",
    "register_policy",
    "token_blueprints",
    "train_policy",
    "train_topologies",
    "write_checkpoint",
]

_MODULES = {
    "actions": (
        "AlphaCurve",
        "AlphaSpeed",
        "AlphaTarget",
        "FactoredActionSpace",
        "Op",
        "Style",
        "Tempo",
        "growth_action_space",
    ),
    "advantages": ("generalised_advantages",),
    "blueprints": (
        "Blueprint",
        "token_blueprints",
    ),
    "buffer": (
        "RolloutBuffer",
        "RolloutStep",
        "Sequences",
    ),
    "bundle": (
        "ActionResult",
        "EvaluationResult",
        "ForwardResult",
        "LSTMPolicyBundle",
        "PolicyBundle",
    ),
    "checkpoints": (
        "CheckpointError",
        "read_checkpoint",
        "write_checkpoint",
    ),
    "digits": (
        "ClassificationData",
        "digits_data",
    ),
    "distribution": ("FactoredDistribution",),
    "environment": ("GrowthEnvironment",),
    "governor": ("GovernorConfig",),
    "growth": (
        "GrowthConfig",
        "GrowthStep",
    ),
    "growth_episodes": (
        "Episode",
        "GrowthEpisodes",
        "episodes_from",
    ),
    "growth_evaluation": (
        "GrowthRecord",
        "play_episodes",
    ),
    "growth_training": (
        "GrowthTrainingConfig",
        "load_trained_policy",
        "train_policy",
    ),
    "heuristic": (
        "HeuristicConfig",
        "HeuristicMemory",
        "heuristic_actions",
        "random_legal_actions",
    ),
    "hosts": (
        "Host",
        "HostDraw",
        "TokenHost",
    ),
    "memory_tasks": (
        "CuedGrowth",
        "MaskedCartPole",
        "MemoryTask",
        "RepeatPrevious",
        "TMaze",
    ),
    "network": ("FactoredRecurrentActorCritic",),
    "normalisation": (
        "ObservationNormaliser",
        "RewardScaler",
        "ValueNormaliser",
    ),
    "observation": ("ObservationLayout",),
    "outputs": (
        "ActionOutput",
        "EvaluationOutput",
        "ForwardOutput",
    ),
    "policy_config": ("PolicyConfig",),
    "ppo": (
        "PPO",
        "PPOConfig",
        "StaleRolloutError",
    ),
    "recurrent_ppo": (
        "RecurrentPPO",
        "RecurrentPPOConfig",
    ),
    "registry": (
        "create_policy",
        "get_policy",
        "list_policies",
        "register_policy",
    ),
    "rewards": (
        "RewardConfig",
        "growth_score",
    ),
    "rollouts": (
        "RolloutCollector",
        "Situation",
    ),
    "shaped_reward": ("ShapedRewardConfig",),
    "slots": (
        "AlphaMode",
        "LifecycleConfig",
        "Operator",
        "SlotStates",
        "Stage",
    ),
    "topologies": (
        "TopologyResult",
        "all_topologies",
        "best_topologies",
        "train_topologies",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
