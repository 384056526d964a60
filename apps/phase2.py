"""Does state-gated retrieval beat ReAct and query RAG in the shop, and at what token cost?

    uv run apps/phase2.py                    # everything, about a quarter of an hour on two cores; resumes if stopped
    uv run apps/phase2.py --smoke            # a small version of about a minute
    uv run apps/phase2.py --actor student    # let the packaged language model act; --student train trains another
    uv run apps/phase2.py --model ID         # let any Hugging Face causal language model act
    uv run apps/phase2.py --model ID --student lora               # the same, fine-tuned on the expert's labels
    uv run apps/phase2.py --model NAME --base-url http://localhost:8000/v1     # a model behind a server
    uv run apps/phase2.py --injections 0.3                        # also in a shop whose texts give commands
    uv run apps/phase2.py --engine processes --workers 8          # the same results, sooner; or --engine ray
    uv run apps/phase2.py --products items_shuffle.json --attributes items_ins_v2.json --human items_human_ins.json

Demonstrations -> state model -> retrieval examples -> gates (one per seed), trained on the expert's pages and then on
their agent's own -> recall on held-out pages -> agents and rules on held-out goals -> ablations on development goals
-> tables, plots, report. A rule acts by default, so that gates are compared on an actor that can shop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.shopping.settings import Phase2Settings
from experiments.shopping.stages import MAKING, Stage
from lab.main import conclude, start
from lab.terminal import print_table

if TYPE_CHECKING:
    from experiments.shopping.world import World
    from lab.run import RunDirectory

COMPARISONS = 6
"""The trained state-gated agent is compared with every other."""


def main() -> None:
    """Tell a first episode, and run the experiment that the command line describes."""
    settings, run = start("phase2", Phase2Settings, __doc__, making=MAKING)

    from experiments.shopping.first_episode import introduce
    from experiments.shopping.world import open_world

    world = open_world(settings)
    introduce(world)
    compare_agents(settings, run, world)


def compare_agents(settings: Phase2Settings, run: RunDirectory, world: World) -> None:
    """Train everything, let all agents shop in a world, and write the answer into the run's folder."""
    # These load PyTorch, which neither `--help` nor a wrong flag nor the first episode shall wait for.
    from experiments.shopping.ablations import run_ablations
    from experiments.shopping.agents import (
        Workbench,
        attempt_held_out_goals,
        attempt_with_rules,
        needed_by,
        rule_actor,
        train_gates,
    )
    from experiments.shopping.attacks import add_attacks
    from experiments.shopping.findings import Findings, results
    from experiments.shopping.gating import Gates, RetrieverRecipe
    from experiments.shopping.learning import open_actor, train_state_model_stage
    from experiments.shopping.ranking import rank_pages_stages
    from experiments.shopping.report import retrieval_table, write_report
    from experiments.shopping.teachers import watch_teachers_stage
    from experiments.shopping.world import collect_demonstrations_stage
    from lab.encoder import open_encoder
    from lab.engine import open_engine
    from sightline.agents.evaluation import power_table, results_table

    encoder = open_encoder(settings, run)
    print_table(power_table(len(world.splits["test"]), tests=2 * COMPARISONS))

    episodes = collect_demonstrations_stage(settings, run, world)
    state_model, history = train_state_model_stage(settings, run, episodes["train"], encoder)
    recipe = RetrieverRecipe.of(settings)
    actor = rule_actor(settings) or open_actor(settings, run, episodes["train"], encoder)
    needed = needed_by(settings)
    gates = Gates(run, episodes, run.stage_folder(Stage.STATE_MODEL), encoder, open_engine(settings), needed)
    bench = Workbench(settings, run, world, encoder, actor, gates)
    trained = train_gates(bench, recipe, state_model)
    unskilled, skilled = (
        [gate.scorer(recipe, encoder) for gate in each] for each in (trained.zero_shot, trained.trained)
    )

    pages = gates.label_examples_stage(recipe)["test"]
    ranking = rank_pages_stages(run, unskilled, skilled, pages, encoder, settings.seed)
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
        rules=attempt_with_rules(bench),
        teachers=watch_teachers_stage(run, world, world.splits["test"]),
    )
    found, report = results(findings), write_report(run, findings)
    if settings.injections:
        found, report = add_attacks(bench, recipe, trained, attempts, found, report)
    conclude(
        run,
        found,
        report,
        shown=(results_table(findings.summaries()), retrieval_table(findings)),
        made_with=f"catalogue {world.shop.catalogue.fingerprint[:12]}",
        catalogue_fingerprint=world.shop.catalogue.fingerprint,
        retriever_seeds=list(settings.retriever_seeds),
    )


if __name__ == "__main__":
    main()
