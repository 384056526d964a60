"""Does state-gated retrieval beat ReAct and query RAG in the shop, and at what token cost?

    uv run apps/phase2.py                    # everything, about a quarter of an hour on two cores; resumes if stopped
    uv run apps/phase2.py --smoke            # a small version of about a minute
    uv run apps/phase2.py --student train    # also train the language model that acts
    uv run apps/phase2.py --model ID         # let any Hugging Face causal language model act
    uv run apps/phase2.py --products items_shuffle.json --attributes items_ins_v2.json --human items_human_ins.json

Demonstrations -> state model -> zero-shot gates -> retrieval examples -> trained gates (one per seed) -> student
-> recall on held-out pages -> agents on held-out goals -> ablations on development goals -> tables, plots, report.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from ablations import GatedName, Workbench, run_ablations
from gating import Gate, Gates, RetrieverRecipe, untrained_gate
from learning import state_model, student
from measuring import evaluate, retrieval_scores, scorers_by_method
from reporting import TRAINED, ZERO_SHOT, Findings, print_table, results, retrieval_table, write_report
from rich.logging import RichHandler
from settings import SMOKE_PHASE2, Phase2Settings, parse_settings
from shopping import demonstrations, open_encoder, open_world

from sightline.agents import (
    LanguageModelActor,
    ReadingAgent,
    Trajectory,
    baseline_rag,
    baseline_react,
    state_conditioned,
)
from sightline.agents.evaluation import power_table, results_table
from sightline.agents.reading import ChunkScorer, instruction_similarity, oracle_gated, random_gated
from sightline.agents.runs import RunDirectory

COMPARISONS = 5
"""The trained state-gated agent is compared with every other."""


def main() -> None:
    """Run the experiment that the command line describes."""
    settings = parse_settings(Phase2Settings, SMOKE_PHASE2, sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    run = RunDirectory(
        settings.output / "phase2" / settings.name,
        settings.model_dump(mode="json", exclude={"config", "output", "prices"}),
    )
    world = open_world(settings)
    encoder = open_encoder(settings, run)

    print_table(power_table(len(world.splits["test"]), tests=2 * COMPARISONS))

    episodes = demonstrations(settings, run, world)
    model, history = state_model(settings, run, episodes["train"], encoder)
    recipe = RetrieverRecipe.of(settings)
    seeds, top_k, chunking = settings.retriever_seeds, recipe.training.top_k, recipe.chunking
    gates = Gates(run, episodes, run.path / "stages" / "2-state-model", encoder)
    zero_shot = [untrained_gate(recipe, model, encoder, seed) for seed in seeds]
    trained = [gates.trained(f"seed{seed}", recipe, seed) for seed in seeds]

    def scorers(gates: Sequence[Gate]) -> list[ChunkScorer]:
        return [state_conditioned(encoder, gate.state_model, gate.retriever, recipe.query_from) for gate in gates]

    actor = LanguageModelActor(
        student(settings, run, episodes["train"], encoder, [instruction_similarity(encoder), *scorers(trained[:1])]),
        batch_size=16,
        length_normalised=True,
        temperature=settings.student_training.temperature,
    )
    bench = Workbench(settings, run, world, encoder, actor, gates)

    pages = gates.examples(chunking)["test"]
    methods = scorers_by_method(scorers(zero_shot), scorers(trained), encoder, settings.seed)
    retrieval = {name: retrieval_scores(run, name, method, pages, encoder) for name, method in methods.items()}

    def attempt(agent: ReadingAgent, stage: str | None = None) -> list[Trajectory]:
        return evaluate(settings, run, f"7-agent-{stage or agent.name}", world, "test", agent, encoder)

    def attempt_gated(name: GatedName, by_gate: Sequence[Gate]) -> list[list[Trajectory]]:
        by_seed = zip(seeds, by_gate, strict=False)
        return [attempt(bench.gated_agent(gate, recipe, name=name), f"{name}-seed{seed}") for seed, gate in by_seed]

    react = baseline_react(actor, history_turns=settings.history_turns, history_characters=settings.history_characters)
    attempts = {
        "baseline_react": [attempt(react)],
        "baseline_rag": [attempt(baseline_rag(actor, encoder, top_k=top_k, chunking=chunking))],
        ZERO_SHOT: attempt_gated(ZERO_SHOT, zero_shot[:1]),
        TRAINED: attempt_gated(TRAINED, trained),
        "oracle_gated": [attempt(oracle_gated(actor, encoder, top_k=top_k, chunking=chunking))],
        "random_gated": [attempt(random_gated(actor, seed=settings.seed, top_k=top_k, chunking=chunking))],
    }
    ablations = run_ablations(bench) if settings.ablations else {}

    findings = Findings(
        history, retrieval, attempts, ablations, settings.seed, chunking, settings.prices, scorers(trained[:1])[0]
    )
    fingerprint = world.shop.catalogue.fingerprint
    run.finish(results(findings), catalogue_fingerprint=fingerprint, retriever_seeds=list(seeds))
    minutes = sum(run.stage_seconds.values()) / 60
    write_report(run, findings, f"uv run apps/phase2.py · {minutes:.1f} minutes · catalogue {fingerprint[:12]}")
    print_table(results_table(findings.summaries()))
    print_table(retrieval_table(findings))
    print("\n" + "\n".join(findings.claims()) + f"\n\nReport: {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
