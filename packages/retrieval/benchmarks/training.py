"""What the options of the retriever's training are worth: recall and MRR on the validation pages of a phase 2 run.

Reads the demonstrations' examples, the state model and the embeddings that ``apps/phase2.py`` has left in a run, and
trains one retriever per variant and seed on the frozen states. Nothing in the run is changed.

Run from the repository's root:
``uv run packages/retrieval/benchmarks/training.py runs/phase2/NAME --seeds 0 1 2 --epochs 40``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sightline.retrieval import (
    CachedEncoder,
    RetrieverTrainingConfig,
    SentenceTransformerEncoder,
    StateConditionedRetriever,
    train_retriever,
)
from sightline.retrieval.conditioned import EmbeddedExamples, embed_examples, read_examples

SITUATIONS_AT_ONCE = 256
HEAD = {"train_query_proj_only": False}
# Changes to the defaults of RetrieverTrainingConfig; "hidden_dim" is of the retriever.
VARIANTS: Mapping[str, Mapping[str, object]] = {
    "page negatives": {},
    "in-batch x 1": {"in_batch_weight": 1.0},
    "in-batch x 0.1": {"in_batch_weight": 0.1},
    "in-batch x 0.01": {"in_batch_weight": 0.01},
    "temperature 0.03": {"temperature": 0.03},
    "temperature 0.1": {"temperature": 0.1},
    "hidden 256": {"hidden_dim": 256},
    "hidden 1024": {"hidden_dim": 1024},
    "importance": HEAD,
    "importance, cross-entropy": {**HEAD, "importance_weight": 0.3},
    "learning rate 3e-3": {"learning_rate": 3e-3},
    "hidden 256, in-batch x 0.1": {"hidden_dim": 256, "in_batch_weight": 0.1},
    "hidden 256, importance": {**HEAD, "hidden_dim": 256},
}


@dataclass(frozen=True)
class Pages:
    """Training examples first, then validation examples, with their conditions ``[N, C]``."""

    examples: EmbeddedExamples
    conditions: torch.Tensor
    training_count: int


def read_run(run: Path, cache: Path | None) -> Pages:
    """Read the examples of a run, under the condition "both": the state beside the instruction's embedding."""
    # The state comes from the agents package, which builds on this one; only this benchmark looks the other way.
    from sightline.agents.reading import example_situation, situation_conditions
    from sightline.agents.state import RecurrentStateModel

    (folder,) = (run / "stages").glob("3-examples-*")
    training, validation = (read_examples(folder / f"{split}.jsonl") for split in ("train", "dev"))
    pages = [*training, *validation]
    encoder = CachedEncoder(SentenceTransformerEncoder(), cache)
    model = RecurrentStateModel.from_pretrained(run / "stages" / "2-state-model")
    situations = [example_situation(page) for page in pages]
    with torch.no_grad():
        parts = [
            situation_conditions(situations[start : start + SITUATIONS_AT_ONCE], encoder, model, "both")
            for start in range(0, len(situations), SITUATIONS_AT_ONCE)
        ]
    return Pages(embed_examples(pages, encoder), torch.cat(parts), len(training))


def compare(
    pages: Pages, variants: Iterable[str], seeds: Iterable[int], epochs: int, report: Callable[[str], None]
) -> None:
    """Train every variant with every seed, and report each as soon as it is done, at the epoch of its best MRR."""
    count, border = len(pages.examples), pages.training_count
    for name in variants:
        changes = dict(VARIANTS[name])
        hidden = changes.pop("hidden_dim", None)
        for seed in seeds:
            config = RetrieverTrainingConfig.model_validate({"epochs": epochs, "seed": seed, **changes})
            retriever = StateConditionedRetriever(
                pages.conditions.shape[1],
                pages.examples.embeddings.shape[1],
                hidden_dim=hidden if isinstance(hidden, int) else None,
                seed=seed,
            )
            start = time.process_time()
            history = train_retriever(
                retriever,
                pages.examples,
                condition_fn=lambda positions: pages.conditions[list(positions)],
                training=range(border),
                validation=range(border, count),
                config=config,
            ).history
            seconds = time.process_time() - start
            shown = []
            for limit in sorted({min(10, epochs), epochs}):
                best = max(history[: limit + 1], key=lambda epoch: epoch.mean_reciprocal_rank)
                recall, rank = best.recall, best.mean_reciprocal_rank
                shown.append(f"<= {limit} epochs: recall@5 {recall:.3f}, MRR {rank:.3f} (epoch {best.epoch})")
            late = np.mean([(epoch.recall, epoch.mean_reciprocal_rank) for epoch in history[-5:]], axis=0)
            shown.append(f"mean of the last 5: {late[0]:.3f}, {late[1]:.3f}")
            report(f"{name:28s} seed {seed}  {'; '.join(shown)}; {seconds:.0f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a phase 2 run")
    parser.add_argument("--cache", type=Path, help="its embedding cache, which saves encoding everything anew")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # CPU time per core is a steady measure, also on a machine that others share
    pages = read_run(arguments.run, arguments.cache)
    print(f"{pages.training_count} training and {len(pages.examples) - pages.training_count} validation pages")
    compare(pages, arguments.variants, arguments.seeds, arguments.epochs, report=print)


if __name__ == "__main__":
    main()
