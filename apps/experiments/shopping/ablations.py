"""One change at a time to the trained state-gated agent, judged on the development goals."""

from __future__ import annotations

from dataclasses import replace

from experiments.shopping.agents import Workbench
from experiments.shopping.gating import RetrieverRecipe
from experiments.shopping.stages import Stage
from sightline.agents import LexicalActor, Trajectory
from sightline.agents.grammar import webshop_grammar
from sightline.retrieval import ChunkingConfig


def run_ablations(bench: Workbench) -> dict[str, list[list[Trajectory]]]:
    """Return name of the variant -> its episodes on the development goals; the first is the agent as configured."""
    recipe, seed = RetrieverRecipe.of(bench.settings), bench.settings.retriever_seeds[0]
    gate = bench.gates.train_stage(f"seed{seed}", recipe, seed)
    agents = {"as configured": bench.gated_agent(gate, recipe)}
    for top_k in (1, 3, 8):
        if top_k != recipe.training.top_k:
            agents[f"top_k {top_k}"] = bench.gated_agent(gate, recipe, top_k=top_k)
    for name, changed in _changed_recipes(recipe).items():
        agents[name] = bench.gated_agent(bench.gates.train_stage(name, changed, seed), changed)
    rule = LexicalActor(webshop_grammar)
    agents["lexical actor"] = bench.gated_agent(gate, recipe, actor=rule)
    agents["lexical actor, query RAG"] = bench.query_rag(recipe, rule)
    agents["lexical actor, ReAct"] = bench.react(rule)
    return {name: [bench.attempt_stage(agent, Stage.ABLATION, name, "dev")] for name, agent in agents.items()}


def _changed_recipes(recipe: RetrieverRecipe) -> dict[str, RetrieverRecipe]:
    variants = {
        f"query from {source}": replace(recipe, query_from=source)
        for source in ("state", "instruction", "both")
        if source != recipe.query_from
    }
    freeze = recipe.training.freeze_state_model
    flipped = recipe.training.model_copy(update={"freeze_state_model": not freeze})
    variants["fine-tuned state model" if freeze else "frozen state model"] = replace(recipe, training=flipped)
    for cap in (150, 400):
        variants[f"chunk cap {cap}"] = replace(recipe, chunking=ChunkingConfig(max_characters=cap))
    return variants
