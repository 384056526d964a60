"""States a second that the packaged student decides, against scoring each action by a forward pass of its own.

    python packages/agents/benchmarks/scoring.py                      # two threads, a minute or two
    python packages/agents/benchmarks/scoring.py --rounds 2 --states 4
    python packages/agents/benchmarks/scoring.py --bfloat16           # also in half precision

A state is a prompt of about 400 tokens with 20 actions. The baseline makes one forward pass per action, over prompt and
action, batch 1; it is spared what a careful author would spare it: the prompt is tokenized once, and only the logits
that predict the action are computed. All ways of scoring take turns, and a ratio is the median over the rounds.

The second table is of prompts that grow by some 50 tokens a step, with and without the prefix cache, and the third of
states that all come twice, with the distribution cache. bfloat16 is of interest where the processor computes in it
(AMX, AVX-512 BF16); elsewhere it is emulated and slow.
"""

from __future__ import annotations

import argparse
import random
import re
import string
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from sightline.agents.actors.candidate_scoring import encode_actions
from sightline.agents.actors.language_model import LanguageModelActor
from sightline.agents.grammar.webshop import abbreviate_products
from sightline.agents.student.config import PACKAGED_STUDENT

PRODUCTS = 13
ACTIONS = 20
STEPS = 8
TITLE = "red chair with a soft seat for the kitchen and the living room, pack of 2"

State = tuple[str, list[str]]
Scorer = Callable[[Sequence[State]], list[tuple[float, ...]]]
"""States -> probabilities of each one's actions."""


def make_state(number: int, products: int = PRODUCTS) -> State:
    """Return a results page as the student reads it, and actions of which most are on it."""
    rng = random.Random(number)
    numbers = ["b0" + "".join(rng.choices(string.ascii_lowercase + string.digits, k=8)) for _ in range(ACTIONS)]
    page = "\n\n".join(f"[button] {name} [button_]\n{TITLE}\n${rng.randrange(100)}.50" for name in numbers[:products])
    prompt = f"task: a red chair for the kitchen, number {number}\npage:\n{page}\naction:"
    prompt, *actions = abbreviate_products(page, [prompt, *(f"click[{name}]" for name in numbers)])
    return prompt, actions


@torch.inference_mode()
def one_pass_per_action(actor: LanguageModelActor, states: Sequence[State]) -> list[tuple[float, ...]]:
    """Return the baseline; independent of how the actor scores."""
    answers = []
    for prompt, actions in states:
        tokens = actor.tokenizer(prompt)["input_ids"]
        scores = []
        for action in encode_actions(actor.tokenizer, actions):
            read = torch.tensor([tokens + action[:-1]])
            logs = actor.model(input_ids=read, logits_to_keep=len(action), use_cache=False).logits[0].log_softmax(-1)
            scores.append(logs.gather(1, torch.tensor(action)[:, None]).sum())
        answers.append(tuple(torch.stack(scores).double().softmax(0).tolist()))
    return answers


def with_actor(actor: LanguageModelActor, *, autocast: bool = False) -> Scorer:
    def score(states: Sequence[State]) -> list[tuple[float, ...]]:
        prompts, actions = map(list, zip(*states, strict=True))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return [answer.probabilities for answer in actor.score(prompts, actions)]

    return score


def compare(scorers: dict[str, Scorer], rounds: Callable[[int], Sequence[State]], count: int) -> None:
    """Print states/s and the ratio to the first scorer, medians over rounds in which all take turns."""
    rates: dict[str, list[float]] = {name: [] for name in scorers}
    answers: dict[str, list[tuple[float, ...]]] = {name: [] for name in scorers}
    for number in range(count):
        states = rounds(number)
        for name, score in scorers.items():
            started = time.perf_counter()
            answers[name] += score(states)
            rates[name].append(len(states) / (time.perf_counter() - started))
    baseline = next(iter(scorers))
    for name in scorers:
        ratio = median(one / other for one, other in zip(rates[name], rates[baseline], strict=True))
        pairs = list(zip(answers[name], answers[baseline], strict=True))
        difference = max(float(np.abs(np.subtract(*pair)).max()) for pair in pairs)
        same = np.mean([np.argmax(one) == np.argmax(other) for one, other in pairs])
        print(
            f"  {name:42}{median(rates[name]):8.1f} states/s  ratio {ratio:6.2f}   "
            f"largest difference of a probability {difference:.1e}, same best action {same:.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of language-model actors.")
    parser.add_argument("--states", type=int, default=8, help="states a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="also measure bfloat16, by autocast and as weights")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    def fresh(number: int) -> list[State]:
        return [make_state(number * arguments.states + index) for index in range(arguments.states)]

    def growing(number: int) -> list[State]:
        states = [make_state(10_000 + number, products=4 + step) for step in range(STEPS)]
        return [(prompt.replace("\naction:", "", 1), actions) for prompt, actions in states]

    plain = LanguageModelActor(PACKAGED_STUDENT, device="cpu", dtype="float32")
    single = LanguageModelActor(PACKAGED_STUDENT, device="cpu", dtype="float32", batch_size=1)
    prefix = LanguageModelActor(
        PACKAGED_STUDENT, device="cpu", dtype="float32", batch_size=1, prefix_cache_bytes=64 * 2**20
    )
    repeats = LanguageModelActor(PACKAGED_STUDENT, device="cpu", dtype="float32", distribution_cache_bytes=2**20)
    prompt, actions = make_state(0)
    answer = plain.score([prompt], [actions])[0]
    information = Path("/proc/cpuinfo")
    flags = re.findall(r"\b(?:amx_bf16|avx512_bf16)\b", information.read_text()) if information.exists() else []
    print(
        f"{answer.prompt_tokens} prompt tokens, {len(actions)} actions of {answer.completion_tokens} tokens, "
        f"{arguments.threads} threads, bfloat16 instructions: {', '.join(sorted(set(flags))) or 'none'}"
    )
    scorers: dict[str, Scorer] = {
        "a pass per action, batch 1 (baseline)": lambda states: one_pass_per_action(plain, states),
        "one pass for all actions, batched": with_actor(plain),
        "one pass for all actions, a state at a time": with_actor(single),
        "  the same, storing prefixes in vain": with_actor(prefix),
    }
    if arguments.bfloat16:
        half = LanguageModelActor(PACKAGED_STUDENT, device="cpu", dtype="bfloat16")
        scorers["batched, bfloat16 by autocast"] = with_actor(plain, autocast=True)
        scorers["batched, bfloat16 weights"] = with_actor(half)
    compare(scorers, fresh, arguments.rounds)
    print(f"prompts that grow from step to step, {STEPS} steps")
    compare(
        {
            "read in full": lambda states: [with_actor(single)([state])[0] for state in states],
            "from the prefix cache": lambda states: [with_actor(prefix)([state])[0] for state in states],
        },
        growing,
        arguments.rounds,
    )
    print("every state twice")
    compare(
        {
            "without a cache": lambda states: with_actor(plain)([*states, *states]),
            "from the distribution cache": lambda states: with_actor(repeats)([*states, *states]),
        },
        fresh,
        arguments.rounds,
    )
    print(f"prefix cache: {prefix.reused_tokens} tokens reused; distribution cache: {repeats.distribution_hits} hits")


if __name__ == "__main__":
    main()
