"""Speed of the encoders on page-like texts, and how far bfloat16 vectors are from float32 ones.

Run from the repository's root: ``uv run packages/retrieval/benchmarks/encoders.py``.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from sightline.retrieval import HashingEncoder, SentenceTransformerEncoder, TextEncoder

TEXTS = 500
ROUNDS = 2
NOUNS = ("lamp", "desk", "shoe", "bottle", "conditioner", "headphone", "mattress", "palette", "table", "earbud")
ADJECTIVES = ("adjustable", "wireless", "vegan", "portable", "wooden", "waterproof", "black", "heavy-duty", "classic")


def page_texts(count: int, seed: int) -> list[str]:
    """Pieces of made-up result and product pages of about 200 to 800 characters."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        length = rng.integers(200, 800)
        text = ""
        while len(text) < length:
            words = " ".join(rng.choice(ADJECTIVES, size=rng.integers(1, 4)))
            text += f"[button] B0{rng.integers(10**7, 10**8)} [button_]\n{words} {rng.choice(NOUNS)}, "
            text += f"pack of {rng.integers(1, 20)}\n${rng.uniform(5, 400):.2f}\n"
        texts.append(text[:length])
    return texts


def measure(encoders: dict[str, TextEncoder], texts: list[str]) -> dict[str, float]:
    """Texts per second of CPU time, best of a few rounds; encoders take turns, so that a busy spell hits them all."""
    seconds = dict.fromkeys(encoders, float("inf"))
    for encoder in encoders.values():
        encoder.encode(texts[:64])  # the first batch pays for set-up
    for _ in range(ROUNDS):
        for name, encoder in encoders.items():
            start = time.process_time()
            encoder.encode(texts)
            seconds[name] = min(seconds[name], time.process_time() - start)
    return {name: len(texts) / spent for name, spent in seconds.items()}


def main() -> None:
    torch.set_num_threads(1)  # CPU time per core is a steady measure, also on a machine that others share
    texts = page_texts(TEXTS, seed=0)
    lengths = [len(text) for text in texts]
    print(f"{TEXTS} texts of {min(lengths)} to {max(lengths)} characters, one core, best of {ROUNDS} rounds")
    reference, fast = (SentenceTransformerEncoder(precision=precision) for precision in ("float32", "bfloat16"))
    speeds = measure({"hashing": HashingEncoder(), "MiniLM float32": reference, "MiniLM bfloat16": fast}, texts)
    for name, speed in speeds.items():
        print(f"{name:16s} {speed:6.0f} texts per CPU second")
    cosines = (reference.encode(texts) * fast.encode(texts)).sum(axis=1)
    print(f"bfloat16 is {speeds['MiniLM bfloat16'] / speeds['MiniLM float32']:.2f} times as fast as float32; cosine")
    print(f"between the two: mean {cosines.mean():.5f}, min {cosines.min():.5f}")


if __name__ == "__main__":
    main()
