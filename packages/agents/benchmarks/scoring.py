"""States a second that a language-model actor decides: all candidates in one packed sequence, or one pass each.

    python packages/agents/benchmarks/scoring.py

The model has the default student's architecture and random weights; prompts have about 400 tokens, and 20 candidates.
"""

from __future__ import annotations

import random
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sightline.agents.language_model import LanguageModelActor
from sightline.agents.student import StudentConfig
from sightline.agents.student_tokenizer import train_tokenizer

STATES = 64
CANDIDATES = 20
REPETITIONS = 3
TITLE = "red chair with a soft seat for the kitchen and the living room, pack of 2"


def make_state(state: int) -> tuple[str, list[str]]:
    rng = random.Random(state)
    numbers = ["b0" + "".join(rng.choices(string.ascii_lowercase + string.digits, k=8)) for _ in range(CANDIDATES)]
    products = [f"[button] {number} [button_]\n{TITLE}\n$12.50" for number in numbers[: CANDIDATES // 2]]
    prompt = "task: a red chair for the kitchen\npage:\n" + "\n\n".join(products) + "\naction:"
    return prompt, [f"click[{number}]" for number in numbers]


def make_model(folder: Path) -> None:
    config = StudentConfig()
    states = [make_state(state) for state in range(STATES, 10 * STATES)]  # others than those that are timed
    tokenizer = train_tokenizer(
        [text for prompt, actions in states for text in (prompt, *actions)], config.vocabulary_size, config.context
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary_size,
            hidden_size=config.width,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(folder)


def states_per_second(score: Callable[[list[str], list[list[str]]], object], states: int) -> float:
    prompts, actions = map(list, zip(*(make_state(state) for state in range(states)), strict=True))
    best = 0.0
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        score(prompts, actions)
        best = max(best, states / (time.perf_counter() - started))
    return best


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        make_model(Path(name))
        for dtype in ("float32", "bfloat16"):
            actor, single = LanguageModelActor(name, dtype=dtype), LanguageModelActor(name, dtype=dtype, batch_size=1)

            def one_by_one(prompts: list[str], actions: list[list[str]], actor: LanguageModelActor = single) -> None:
                for prompt, candidates in zip(prompts, actions, strict=True):
                    actor.score([prompt] * len(candidates), [[action] for action in candidates])

            prompt, actions = make_state(0)
            tokens = actor.score([prompt], [actions])[0]
            print(f"{dtype}: {tokens.prompt_tokens} prompt tokens, {tokens.completion_tokens} tokens an action")
            print(f"  packed, batches of {actor.batch_size}: {states_per_second(actor.score, STATES):6.1f} states/s")
            print(f"  packed, one at a time: {states_per_second(single.score, STATES):6.1f} states/s")
            print(f"  a pass per action:     {states_per_second(one_by_one, STATES // 8):6.1f} states/s")


if __name__ == "__main__":
    main()
