"""The agents that are compared, and their attempts at held-out goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from experiments.shopping.gating import Gate, Gates, RetrieverRecipe
from experiments.shopping.settings import Phase2Settings
from experiments.shopping.stages import Stage
from experiments.shopping.world import World, action_values, expert
from lab.run import RunDirectory
from sightline.agents import (
    Actor,
    ReadingAgent,
    Trajectory,
    baseline_rag,
    baseline_react,
    read_trajectories,
    recurrent_state_gated,
    roll_out,
    write_trajectories,
)
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import oracle_gated, random_gated
from sightline.retrieval import CachedEncoder

TRAINED: Final = "recurrent_state_gated_trained"
ZERO_SHOT: Final = "recurrent_state_gated_zero_shot"
GatedName = Literal["recurrent_state_gated_zero_shot", "recurrent_state_gated_trained"]


@dataclass(frozen=True)
class Workbench:
    """What every agent shares.

    Attributes:
        settings: settings of the experiment.
        run: run that everything is kept in.
        world: shop and goals.
        encoder: encoder of events and chunks.
        actor: language model that acts.
        gates: trainer of what decides what is read.
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
        name: GatedName = TRAINED,
        top_k: int | None = None,
        actor: Actor | None = None,
    ) -> ReadingAgent:
        """Return the state-gated agent over a gate; `top_k` and `actor` are the recipe's and the bench's by default."""
        return recurrent_state_gated(
            actor or self.actor,
            self.encoder,
            gate.state_model,
            gate.retriever,
            webshop_grammar,
            name=name,
            query_from=recipe.query_from,
            top_k=top_k or recipe.training.top_k,
            chunking=recipe.chunking,
        )

    def query_rag(self, recipe: RetrieverRecipe, actor: Actor | None = None) -> ReadingAgent:
        """Return the agent that reads what is similar to its instruction."""
        return baseline_rag(
            actor or self.actor,
            self.encoder,
            webshop_grammar,
            top_k=recipe.training.top_k,
            chunking=recipe.chunking,
        )

    def react(self, actor: Actor | None = None) -> ReadingAgent:
        """Return the agent that reads whole pages."""
        return baseline_react(
            actor or self.actor,
            webshop_grammar,
            history_turns=self.settings.history_turns,
            history_characters=self.settings.history_characters,
        )

    def attempt_stage(self, agent: ReadingAgent, stage: Stage, variant: str, split: str) -> list[Trajectory]:
        """Let an agent attempt every goal of a split; a stopped run goes on after the last complete episodes."""

        def compute(folder: Path) -> None:
            episodes = roll_out(
                self.world.environments(),
                agent,
                self.world.splits[split],
                webshop_grammar,
                seed=self.settings.seed,
                max_steps=self.settings.step_limit,
                expert=expert,
                values=action_values,
                journal=self.run.work_folder(stage, variant) / "episodes.jsonl",
            )
            write_trajectories(folder / "episodes.jsonl", episodes)
            self.encoder.save()

        return list(read_trajectories(self.run.stage(stage, compute, variant) / "episodes.jsonl"))


def attempt_held_out_goals(
    bench: Workbench, recipe: RetrieverRecipe, zero_shot: Gate, trained: Sequence[Gate]
) -> dict[str, list[list[Trajectory]]]:
    """Let all agents attempt the test goals, the trained one once per training seed.

    Returns:
        Name of the agent -> its episodes by training seed.
    """
    settings = bench.settings
    chunked: dict[str, Any] = {"top_k": recipe.training.top_k, "chunking": recipe.chunking}

    def attempt(agent: ReadingAgent) -> list[list[Trajectory]]:
        return [bench.attempt_stage(agent, Stage.AGENT, agent.name, "test")]

    def attempt_gated(name: GatedName, gates: Sequence[Gate]) -> list[list[Trajectory]]:
        return [
            bench.attempt_stage(bench.gated_agent(gate, recipe, name=name), Stage.AGENT, f"{name}-seed{seed}", "test")
            for seed, gate in zip(settings.retriever_seeds, gates, strict=False)
        ]

    return {
        "baseline_react": attempt(bench.react()),
        "baseline_rag": attempt(bench.query_rag(recipe)),
        ZERO_SHOT: attempt_gated(ZERO_SHOT, [zero_shot]),
        TRAINED: attempt_gated(TRAINED, trained),
        "oracle_gated": attempt(oracle_gated(bench.actor, bench.encoder, webshop_grammar, **chunked)),
        "random_gated": attempt(random_gated(bench.actor, webshop_grammar, seed=settings.seed, **chunked)),
    }
