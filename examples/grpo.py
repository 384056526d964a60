"""Train a language model in the shop with TRL's GRPO: the model's tool calls are searches and clicks.

    uv run examples/grpo.py --model MODEL --steps 100

MODEL is any chat model with tool calls, by Hugging Face id or folder. A GPU is needed for anything but a look.
"""

from __future__ import annotations

import argparse
import os

from sightline.webshop_env import WebShopEnv
from sightline.webshop_env.adapters.trl import environment_factory, training_rows


def main() -> None:
    """Train on goals that are no test goals; the reward is that of the shop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face id or folder of a chat model with tool calls")
    parser.add_argument("--steps", type=int, default=100, help="optimiser steps")
    parser.add_argument("--goals", type=int, default=500, help="goals to learn from")
    parser.add_argument("--output", default="grpo", help="folder of the trained model")
    arguments = parser.parse_args()

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    shop = WebShopEnv(step_limit=15).shop
    trainer = GRPOTrainer(
        model=arguments.model,
        args=GRPOConfig(
            output_dir=arguments.output,
            max_steps=arguments.steps,
            use_cpu=not torch.cuda.is_available(),
            bf16=torch.cuda.is_available(),
            report_to="none",
        ),
        train_dataset=Dataset.from_list(training_rows(shop, range(500, 500 + arguments.goals))),
        environment_factory=environment_factory(shop),
    )
    trainer.train()
    trainer.save_model(arguments.output)


if __name__ == "__main__":
    main()
