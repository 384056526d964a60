"""Play the same goals in this process and on a Ray cluster, and compare the records byte for byte.

    uv run examples/ray_cluster.py --workers 4                          # a local cluster
    uv run examples/ray_cluster.py --workers 64 --address HOST:6379     # one that is there

Workers import this file, so it has to lie where they find it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sightline.agents import LexicalActor, ReadingAgent, baseline_rag
from sightline.agents.grammar import webshop_grammar
from sightline.agents.rollout import InProcessEngine, RayEngine, RolloutJob, run_job
from sightline.retrieval import ChunkingConfig, HashingEncoder
from sightline.webshop_env import WebShopEnv


def open_environments(count: int) -> list[WebShopEnv]:
    """Return environments over one shop."""
    shop = WebShopEnv().shop
    return [WebShopEnv(shop=shop) for _ in range(count)]


def make_agent() -> ReadingAgent:
    """Return the agent that all workers play."""
    return baseline_rag(
        LexicalActor(webshop_grammar), HashingEncoder(), webshop_grammar, top_k=3, chunking=ChunkingConfig()
    )


def main() -> None:
    """Compare the two ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4, help="workers on the cluster")
    parser.add_argument("--goals", type=int, default=64, help="number of goals")
    parser.add_argument("--address", help="address of a cluster; by default one is started here")
    arguments = parser.parse_args()

    import ray  # heavy, and --help needs none of it

    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # workers use the environment that is there
    here = str(Path(__file__).resolve().parent)
    ray.init(
        address=arguments.address,
        num_cpus=None if arguments.address else arguments.workers,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
        include_dashboard=False,
    )
    from ray_cluster import make_agent, open_environments  # by the name under which workers import them

    job = RolloutJob(
        agent_name="baseline_rag",
        make_environments=open_environments,
        make_agent=make_agent,
        grammar=webshop_grammar,
        seed=0,
        max_steps=15,
    )
    goals = range(arguments.goals)
    here_played = run_job(job, goals, engine=InProcessEngine())
    there_played = run_job(job, goals, engine=RayEngine(arguments.workers))
    same = [one.model_dump_json() for one in here_played] == [other.model_dump_json() for other in there_played]
    print(f"{len(goals)} goals, {arguments.workers} workers: {'equal to the byte' if same else 'DIFFERENT'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
