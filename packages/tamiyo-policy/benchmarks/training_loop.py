"""What do `torch.compile`, and typed tuples in place of dictionaries, do to the speed of training?

    uv run packages/tamiyo-policy/benchmarks/training_loop.py --rounds 40

Four policies learn the task with a cue, whose actions are factored and masked, from the same seed. They take turns,
round by round, in one process with one thread. They differ in two things:

    compiled      whether `torch.compile` has compiled the layers between memory and outputs, as the bundle of
                  `sightline.tamiyo_policy.compat` does; the memory is one fused call already
    dictionaries  whether what the network gives is a dictionary with the fields of the typed tuple

CPU seconds of a round are its rollout and its update. What compiling takes falls into the first rounds, which are left
out and told apart; what one policy compiled serves the next. Intervals resample rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy import stats

from sightline.tamiyo_policy.policy import network
from sightline.tamiyo_policy.ppo.config import PPOConfig, RecurrentPPOConfig
from sightline.tamiyo_policy.ppo.recurrent_ppo import RecurrentPPO
from sightline.tamiyo_policy.tasks.memory_tasks import CuedGrowth

RECORDS = ("ActionOutput", "EvaluationOutput", "_Pass")
CONFIG = RecurrentPPOConfig(ppo=PPOConfig(), num_steps=33)
WARM_UP = 3


@dataclass
class Contender:
    """A policy that learns, and the CPU seconds of its rounds."""

    name: str
    compiled: bool
    dictionaries: bool
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trainer = RecurrentPPO(CuedGrowth(32), CONFIG, seed=0)
        if self.compiled:
            parts = self.trainer.network
            for module in (parts.entrance, *parts.heads.values(), parts.critic):
                if module is not None:
                    module.compile()

    def learn(self) -> None:
        """Play and learn one round."""
        records = {name: getattr(network, name) for name in RECORDS}
        kinds = {name: as_dictionary(record) if self.dictionaries else record for name, record in records.items()}
        with ExitStack() as patches:
            for name, kind in kinds.items():
                patches.enter_context(patch.object(network, name, kind))
            started = time.process_time()
            (metrics,) = self.trainer.learn(1)
            self.seconds.append(time.process_time() - started)
        self.losses.append(metrics["policy_loss"])


def as_dictionary(record: Any) -> Callable[..., Any]:
    """Return what makes a dictionary of a typed tuple's values, with its properties."""
    properties = {name: value for name, value in vars(record).items() if isinstance(value, property)}

    def look_up(self: dict[str, Any], name: str) -> Any:
        return self[name]

    kind = type(record.__name__, (dict,), {"__getattr__": look_up, **properties})
    return lambda *values: kind(zip(record._fields, values, strict=True))


def ratio(faster: list[float], slower: list[float]) -> str:
    """Return the median ratio of paired rounds, with its 95 % interval."""
    pairs = np.array(slower[WARM_UP:]) / np.array(faster[WARM_UP:])
    found = stats.bootstrap((pairs,), np.median, method="percentile", rng=np.random.default_rng(0))
    low, high = found.confidence_interval
    return f"{np.median(pairs):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="rounds of each policy, the first three to warm up")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tuples, dictionaries, compiled, both = contenders = [
        Contender("typed tuples", compiled=False, dictionaries=False),
        Contender("dictionaries", compiled=False, dictionaries=True),
        Contender("typed tuples, compiled", compiled=True, dictionaries=False),
        Contender("dictionaries, compiled", compiled=True, dictionaries=True),
    ]
    for turn in range(arguments.rounds):
        for contender in contenders if turn % 2 == 0 else contenders[::-1]:
            with torch._dynamo.config.patch(recompile_limit=100):  # all perceptrons share their code
                contender.learn()
    if dictionaries.losses != tuples.losses:
        raise RuntimeError("with dictionaries the policy learned something else than with typed tuples")
    for contender in contenders:
        first, later = sum(contender.seconds[:WARM_UP]), np.median(contender.seconds[WARM_UP:])
        print(f"{contender.name:24} first {WARM_UP} rounds {first:6.1f} CPU s, then {later:.3f} a round")
    print(f"dictionaries take {ratio(tuples.seconds, dictionaries.seconds)} times as long as typed tuples,")
    print(f"when compiled {ratio(compiled.seconds, both.seconds)} times")
    print(f"without torch.compile a round takes {ratio(compiled.seconds, tuples.seconds)} times as long as with it")


if __name__ == "__main__":
    main()
