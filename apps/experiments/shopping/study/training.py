"""One training of phase 2: everything is learnt, all agents shop in a world, and the answer is put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from experiments.shopping.ablations import run_ablations
from experiments.shopping.agents import (
    TrainedGates,
    Workbench,
    attempt_held_out_goals,
    attempt_with_rules,
    needed_by,
    rule_actor,
    train_gates,
)
from experiments.shopping.attacks import add_attacks
from experiments.shopping.findings import Findings, results
from experiments.shopping.gates.page_aware import Gates, RetrieverRecipe
from experiments.shopping.learning import open_actor, train_state_model_stage
from experiments.shopping.ranking import rank_pages_stages, recall_by_target_stage
from experiments.shopping.report import retrieval_table, write_report
from experiments.shopping.settings import Phase2Settings
from experiments.shopping.stages import Stage
from experiments.shopping.teachers import watch_teachers_stage
from experiments.shopping.world import World, collect_demonstrations_stage
from lab.encoder import open_encoder
from lab.engine import AnyEngine
from lab.report import Report
from lab.run import RunDirectory
from lab.terminal import print_table
from sightline.agents import Table
from sightline.agents.evaluation import power_table, results_table
from sightline.agents.reading import instruction_similarity

COMPARISONS: Final = 8
"""The trained state-gated agent is compared with six others, the steered one with it and with query RAG."""


@dataclass(frozen=True)
class Compared:
    """A training, and what was made of it."""

    bench: Workbench
    """What the agents share."""
    recipe: RetrieverRecipe
    """How the gates were made."""
    trained: TrainedGates
    """The gates."""
    results: Mapping[str, Any]
    """Numbers for `results.json`."""
    report: Report
    """What the run tells."""
    shown: Sequence[Table]
    """Tables for the terminal."""


def compare_agents(settings: Phase2Settings, run: RunDirectory, world: World, engine: AnyEngine) -> Compared:
    """Train everything, let all agents shop in a world on an engine, and return what came out."""
    encoder = open_encoder(settings, run)
    print_table(power_table(len(world.splits["test"]), tests=2 * COMPARISONS))

    episodes = collect_demonstrations_stage(settings, run, world, engine)
    state_model, history = train_state_model_stage(settings, run, episodes["train"], encoder)
    recipe = RetrieverRecipe.of(settings)
    actor = rule_actor(settings) or open_actor(settings, run, episodes["train"], encoder)
    needed = needed_by(settings)
    gates = Gates(run, episodes, run.stage_folder(Stage.STATE_MODEL), encoder, engine, needed)
    bench = Workbench(settings, run, world, encoder, actor, gates)
    trained = train_gates(bench, recipe, state_model)
    unskilled, skilled = (
        [gate.scorer(recipe, encoder) for gate in each] for each in (trained.zero_shot, trained.trained)
    )

    steered = [gate.scorer(encoder) for gate in trained.steered]

    pages = gates.label_examples_stage(recipe)["test"]
    ranking = rank_pages_stages(run, unskilled, skilled, steered, pages, encoder, settings.seed)
    methods = {"query_rag": [instruction_similarity(encoder)], "state_gated_trained": skilled}
    everything = gates.label_examples_stage(replace(recipe, navigation=True, labels="clicks"))["test"]
    by_target = recall_by_target_stage(run, methods, everything, encoder, settings.seed)
    attempts = attempt_held_out_goals(bench, recipe, trained)
    ablations = run_ablations(bench, trained) if settings.ablations else {}

    findings = Findings(
        history,
        ranking,
        attempts,
        ablations,
        settings.seed,
        recipe.chunking,
        settings.prices,
        skilled[0],
        by_target,
        rules=attempt_with_rules(bench),
        teachers=watch_teachers_stage(run, world, world.splits["test"]),
    )
    found, report = results(findings), write_report(run, findings)
    if settings.injections:
        found, report = add_attacks(bench, recipe, trained, attempts, found, report)
    shown = (results_table(findings.summaries), retrieval_table(findings))
    return Compared(bench, recipe, trained, found, report, shown)
