"""One change at a time to the trained state-gated agent, judged on the development goals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gating import Gate, Gates, RetrieverRecipe
from measuring import evaluate
from settings import Phase2Settings
from shopping import World

from sightline.agents import (
    Actor,
    LexicalActor,
    ReadingAgent,
    Trajectory,
    baseline_rag,
    baseline_react,
    recurrent_state_gated,
)
from sightline.agents.runs import RunDirectory
from sightline.retrieval import CachedEncoder, ChunkingConfig

GatedName = Literal["recurrent_state_gated_zero_shot", "recurrent_state_gated_trained"]


@dataclass(frozen=True)
class Workbench:
    """What every variant shares.

    Attributes:
        settings: of the experiment.
        run: where it is kept.
        world: shop and goals.
        encoder: of events and chunks.
        actor: the language model that acts.
        gates: trains what decides what is read.
    """

    settings: Phase2Settings
    run: RunDirectory
    world: World
    encoder: CachedEncoder
    actor: Actor
    gates: Gates

    def gated_agent(
        self,
        gate: Gate,
        recipe: RetrieverRecipe,
        *,
        name: GatedName = "recurrent_state_gated_trained",
        top_k: int | None = None,
        actor: Actor | None = None,
    ) -> ReadingAgent:
        """The state-gated agent over a gate; `top_k` and `actor` are the recipe's and the bench's unless given."""
        return recurrent_state_gated(
            actor or self.actor,
            self.encoder,
            gate.state_model,
            gate.retriever,
            name=name,
            query_from=recipe.query_from,
            top_k=top_k or recipe.training.top_k,
            chunking=recipe.chunking,
        )


def run_ablations(bench: Workbench) -> dict[str, list[list[Trajectory]]]:
    """Name of the variant -> its episodes on the development goals; the first is the agent as configured."""
    recipe, seed = RetrieverRecipe.of(bench.settings), bench.settings.retriever_seeds[0]
    gate = bench.gates.trained(f"seed{seed}", recipe, seed)
    agents = {"as configured": bench.gated_agent(gate, recipe)}
    for top_k in (1, 3, 8):
        if top_k != recipe.training.top_k:
            agents[f"top_k {top_k}"] = bench.gated_agent(gate, recipe, top_k=top_k)
    for name, changed in _changed_recipes(recipe).items():
        agents[name] = bench.gated_agent(bench.gates.trained(_slug(name), changed, seed), changed)
    rule = LexicalActor()
    agents["lexical actor"] = bench.gated_agent(gate, recipe, actor=rule)
    settings, chunking, top_k = bench.settings, recipe.chunking, recipe.training.top_k
    agents["lexical actor, query RAG"] = baseline_rag(rule, bench.encoder, top_k=top_k, chunking=chunking)
    agents["lexical actor, ReAct"] = baseline_react(
        rule, history_turns=settings.history_turns, history_characters=settings.history_characters
    )
    return {
        name: [evaluate(settings, bench.run, f"8-ablation-{_slug(name)}", bench.world, "dev", agent, bench.encoder)]
        for name, agent in agents.items()
    }


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


def _slug(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name.lower())
