"""Play goals, label them and train a matrix of policies, in this process and on a Ray cluster; compare byte for byte.

    uv run examples/ray_cluster.py --workers 4                          # a local cluster
    uv run examples/ray_cluster.py --workers 64 --address HOST:6379     # one that is there

Workers import this file, so it has to lie where they find it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from functools import cache
from itertools import product
from pathlib import Path

from sightline.agents import LexicalActor, ReadingAgent, baseline_rag
from sightline.agents.grammar import webshop_grammar
from sightline.agents.rollout import InProcessEngine, RolloutJob, run_job
from sightline.retrieval import ChunkingConfig, HashingEncoder
from sightline.tamiyo_policy import RecurrentPPO
from sightline.tamiyo_policy.tasks import RepeatPrevious
from sightline.webshop_env import Shop, WebShopEnv, reachable_rewards


@cache
def open_shop() -> Shop:
    """Return the shop that everything happens in; a process makes it once."""
    return WebShopEnv().shop


def open_environments(count: int) -> list[WebShopEnv]:
    """Return environments over the one shop."""
    return [WebShopEnv(shop=open_shop()) for _ in range(count)]


def make_agent() -> ReadingAgent:
    """Return the agent that all workers play."""
    return baseline_rag(
        LexicalActor(webshop_grammar), HashingEncoder(), webshop_grammar, top_k=3, chunking=ChunkingConfig()
    )


def label(goal: int) -> dict[str, tuple[float, int | None]]:
    """Return what can still be earned by each first action for a goal, and in how many steps."""
    shop = open_shop()
    found = reachable_rewards(shop, shop.start(goal))
    return {action: (reward, steps) for action, (reward, steps) in found.items()}


def train(cell: tuple[float, int]) -> str:
    """Return a digest of the weights that a learning rate and a seed lead to."""
    rate, seed = cell
    trainer = RecurrentPPO(RepeatPrevious(num_envs=4), num_steps=16, learning_rate=rate, seed=seed)
    trainer.learn(128)
    weights = b"".join(value.numpy().tobytes() for value in trainer.network.state_dict().values())
    return hashlib.sha256(weights).hexdigest()


def main() -> None:
    """Do the same work in both ways, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4, help="workers on the cluster")
    parser.add_argument("--goals", type=int, default=64, help="number of goals")
    parser.add_argument("--address", help="address of a cluster; by default one is started here")
    arguments = parser.parse_args()

    # Read when Ray is imported: without it, workers under `uv run` build the whole environment once more.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray  # heavy, and --help needs none of it

    from sightline.agents.rollout import RayEngine

    here = str(Path(__file__).resolve().parent)
    ray.init(
        address=arguments.address,
        num_cpus=None if arguments.address else arguments.workers,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
        include_dashboard=False,
    )
    from ray_cluster import label, make_agent, open_environments, train  # by the name under which workers import them

    job = RolloutJob(
        agent_name="baseline_rag",
        make_environments=open_environments,
        make_agent=make_agent,
        grammar=webshop_grammar,
        seed=0,
        max_steps=15,
    )
    goals, cells = range(arguments.goals), list(product((1e-3, 3e-3), (0, 1)))
    done: dict[str, list[list[str]]] = {"rollouts": [], "labels": [], "trainings": []}
    for engine in (InProcessEngine(), RayEngine(arguments.workers)):
        done["rollouts"].append([one.model_dump_json() for one in run_job(job, goals, engine=engine)])
        done["labels"].append([json.dumps(one) for one in engine.map(label, goals)])
        done["trainings"].append(engine.map(train, cells))
    for name, (here_done, there_done) in done.items():
        verdict = "equal to the byte" if here_done == there_done else "DIFFERENT"
        print(f"{len(here_done)} {name}, {arguments.workers} workers: {verdict}")
    sys.exit(any(here_done != there_done for here_done, there_done in done.values()))


if __name__ == "__main__":
    main()
