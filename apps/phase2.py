"""Does state-gated retrieval beat ReAct and query RAG in the shop, and at what token cost?

    uv run apps/phase2.py                    # everything, a quarter of an hour on two cores; resumes if stopped
    uv run apps/phase2.py --smoke            # a small version of about a minute
    uv run apps/phase2.py --actor student    # let the packaged language model act; --student train trains another
    uv run apps/phase2.py --model ID         # let any Hugging Face causal language model act
    uv run apps/phase2.py --model ID --student lora               # the same, fine-tuned on the expert's labels
    uv run apps/phase2.py --model NAME --base-url http://localhost:8000/v1     # a model behind a server
    uv run apps/phase2.py --injections 0.3                        # also in a shop whose texts give commands
    uv run apps/phase2.py --pages long --study alone --top-k 6 --chunking.max-characters 300     # long pages
    uv run apps/phase2.py --study full --name full     # short, control and long pages, every k; two hours on two cores
    uv run apps/phase2.py --engine processes --workers 8          # the same results, sooner; or --engine ray
    uv run apps/phase2.py --products items_shuffle.json --attributes items_ins_v2.json --human items_human_ins.json

Demonstrations -> state model -> retrieval examples -> gates (one per seed), trained on the expert's pages and then on
their agent's own -> recall on held-out pages -> agents and rules on held-out goals -> ablations on development goals
-> a study on fresh goals -> tables, plots, report. A rule acts by default, so that gates are compared on an actor that
can shop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.shopping.settings import Phase2Settings
from experiments.shopping.stages import MAKING
from lab.main import conclude, start
from lab.run import RunDirectory
from lab.terminal import say

if TYPE_CHECKING:
    from experiments.shopping.study.training import Compared


def main() -> None:
    """Tell a first episode, and run the experiment that the command line describes."""
    settings, run = start("phase2", Phase2Settings, __doc__, making=MAKING)

    from experiments.shopping.first_episode import introduce
    from experiments.shopping.world import open_world

    world = open_world(settings)
    introduce(world)

    # This loads PyTorch, which neither `--help` nor a wrong flag nor the first episode shall wait for.
    from experiments.shopping.study.report import add_study
    from experiments.shopping.study.training import compare_agents
    from experiments.shopping.study.trials import PLAN, long_settings, short_settings
    from lab.engine import open_engine

    with open_engine(settings) as engine:
        if not settings.has_study:
            tell(compare_agents(settings, run, world, engine))
            return
        say(PLAN)
        compared = [compare_agents(short_settings(settings), run, world, engine)]
        if settings.study == "full":
            long = long_settings(settings)
            folder = RunDirectory(run.path.with_name(f"{run.path.name}-long"), long.identity(), making=MAKING)
            compared.append(compare_agents(long, folder, open_world(long), engine))
            tell(compared[1])
        tell(add_study(compared))


def tell(compared: Compared) -> None:
    """Write the answer of a training into its run's folder, and print it."""
    bench = compared.bench
    fingerprint = bench.world.shop.catalogue.fingerprint
    conclude(
        bench.run,
        compared.results,
        compared.report,
        shown=compared.shown,
        made_with=f"catalogue {fingerprint[:12]}",
        catalogue_fingerprint=fingerprint,
        retriever_seeds=list(bench.settings.retriever_seeds),
    )


if __name__ == "__main__":
    main()
