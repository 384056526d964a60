"""Can a pretrained language model shop, before and after it has learnt an expert's labels?

    uv run apps/pretrained.py                        # SmolLM2-135M-Instruct from the Hugging Face Hub
    uv run apps/pretrained.py --model ID             # any causal language model: an id, a folder or a GGUF file
    uv run apps/pretrained.py --smoke                # a small version

Demonstrations -> LoRA adapter on the student's labels -> the model with and without it, and the lexical rule, as query
RAG on held-out goals. In `apps/phase2.py`, `--model ID --student lora` puts such a model before all agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from experiments.shopping.settings import PretrainedSettings
from experiments.shopping.stages import MAKING, Stage
from lab.main import conclude, start
from lab.report import Report, Section


def main() -> None:
    """Run the experiment that the command line describes."""
    settings, run = start("pretrained", PretrainedSettings, __doc__, making=MAKING)
    assert settings.model is not None  # it has a default

    # These load PyTorch, which neither `--help` nor a wrong flag shall wait for.
    from experiments.shopping.agents import Workbench
    from experiments.shopping.gates.page_aware import Gates
    from experiments.shopping.learning import train_student_stage
    from experiments.shopping.world import collect_demonstrations_stage, open_world
    from lab.encoder import open_encoder
    from lab.engine import open_engine
    from sightline.agents import Actor, LanguageModelActor, LexicalActor, Trajectory, summarise
    from sightline.agents.evaluation import results_table
    from sightline.agents.grammar import webshop_grammar

    world, encoder = open_world(settings), open_encoder(settings, run)
    test, rule = world.splits["test"], LexicalActor(webshop_grammar)
    with open_engine(settings) as engine:
        episodes = collect_demonstrations_stage(settings, run, world, engine)
        gates = Gates(run, episodes, run.stage_folder(Stage.STATE_MODEL), encoder, engine)
        bench = Workbench(settings, run, world, encoder, rule, gates)

        def attempt(name: str, actor: Actor, goals: Sequence[int]) -> list[list[Trajectory]]:
            return [bench.attempt_stage(replace(bench.query_rag(actor), name=name), Stage.AGENT, name, goals)]

        temperature = settings.adapter_training.temperature
        model = LanguageModelActor(settings.model, length_normalised=True, temperature=temperature)
        attempts = {
            "lexical actor": attempt("lexical actor", rule, test),
            "model as it is": attempt("model as it is", model, test[: settings.control_goals]),
        }
        del model
        if settings.student == "lora":
            adapter = train_student_stage(settings, run, episodes["train"], encoder)
            tuned = LanguageModelActor(settings.model, adapter=adapter, length_normalised=True, temperature=temperature)
            attempts["model with adapter"] = attempt("model with adapter", tuned, test)

    summaries = summarise(attempts, seed=settings.seed)
    table = results_table(summaries)
    rates = [
        f"{each.agent}: {each.success_rate.value:.1%} of {each.goals} held-out goals"
        for each in summaries
        if each.success_rate is not None
    ]
    report = Report("Can a pretrained language model shop?", rates, [table], [Section("As query RAG", tables=(table,))])
    conclude(
        run,
        {"schema_version": 1, "agents": [summary.model_dump(mode="json") for summary in summaries]},
        report,
        shown=[table],
        catalogue_fingerprint=world.shop.catalogue.fingerprint,
    )


if __name__ == "__main__":
    main()
