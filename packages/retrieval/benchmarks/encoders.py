"""Speed of the encoders on page-like texts, and how far bfloat16 and int8 vectors are from float32 ones.

int8 is PyTorch's dynamic quantisation of the linear layers, measured to know whether it is worth offering.

Run from the repository's root: ``uv run packages/retrieval/benchmarks/encoders.py``.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch

from sightline.retrieval import HashingEncoder, SentenceTransformerEncoder, TextEncoder

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


def quantized() -> SentenceTransformerEncoder:
    """Return the packaged encoder with the weights of its linear layers in int8."""
    encoder = SentenceTransformerEncoder(precision="float32", device="cpu")
    # Deprecated in favour of the package torchao; if it pays, it is worth a dependency.
    quantize = getattr(torch.ao.quantization, "quantize_dynamic")  # noqa: B009 - the type checker warns of its name
    encoder._model = quantize(encoder._model, {torch.nn.Linear}, dtype=torch.qint8)
    return encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--precisions", nargs="+", choices=("bfloat16", "int8"), default=("bfloat16", "int8"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # CPU time per core is a steady measure, also on a machine that others share
    warnings.filterwarnings("ignore", module="torch.ao")  # of the quantisation, which nothing else uses
    texts = page_texts(arguments.texts, seed=0)
    lengths = [len(text) for text in texts]
    print(f"{len(texts)} texts of {min(lengths)} to {max(lengths)} characters, one core, best of {ROUNDS} rounds")
    makers = {"bfloat16": lambda: SentenceTransformerEncoder(precision="bfloat16", device="cpu"), "int8": quantized}
    reference = SentenceTransformerEncoder(precision="float32", device="cpu")
    others = {name: makers[name]() for name in arguments.precisions}
    speeds = measure({"hashing": HashingEncoder(), "float32": reference, **others}, texts)
    exact = reference.encode(texts)
    for name, speed in speeds.items():
        line = f"{name:9s} {speed:7.1f} texts per CPU second"
        if name in others:
            cosines = (exact * others[name].encode(texts)).sum(axis=1)
            line += f", {speed / speeds['float32']:.2f} times float32; cosine with it: mean {cosines.mean():.5f}, "
            line += f"min {cosines.min():.5f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
