"""The agents that are compared, and their attempts at goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from experiments.shopping.gates.page_aware import Gate, Gates, RetrieverRecipe, untrained_gate
from experiments.shopping.gates.steered import SteeredGate, train_steered_stage
from experiments.shopping.settings import Phase2Settings
from experiments.shopping.stages import Stage
from experiments.shopping.world import LIVE_EPISODES, World, action_values, expert
from lab.run import RunDirectory
from sightline.agents import (
    Actor,
    LexicalActor,
    ReadingAgent,
    RuleActor,
    Trajectory,
    read_trajectories,
    write_trajectories,
)
from sightline.agents.grammar import first_hit, webshop_grammar
from sightline.agents.reading import (
    ChunkLabel,
    ChunkScorer,
    View,
    expert_target,
    full_page,
    instruction_similarity,
    random_scores,
    remembering,
    sufficient_chunks,
    top_chunks,
)
from sightline.agents.rollout import RolloutJob, run_job
from sightline.agents.state import RecurrentStateModel
from sightline.retrieval import CachedEncoder
from sightline.webshop_env.episodes import careful_choice, rule_choice

TRAINED: Final = "recurrent_state_gated_trained"
ZERO_SHOT: Final = "recurrent_state_gated_zero_shot"
STEERED: Final = "recurrent_state_gated_steered"
"""A scorer that the recurrent state steers, trained on the pages that the trained gate learnt from."""
EXPERT_PAGES: Final = "recurrent_state_gated_expert_pages"
"""The trained gate before it learnt from its agent's own pages."""
_RULES: Final[Mapping[str, Actor]] = {
    "first_hit": RuleActor(first_hit),
    "rule": RuleActor(rule_choice),
    "lexical": LexicalActor(webshop_grammar),
}


def rules(settings: Phase2Settings) -> Mapping[str, Actor]:
    """Return the actors without a model; with whole pages each is a row of every table.

    On long pages the rule by name reads before it buys; the one that does not is there as well.
    """
    if settings.pages != "long":
        return _RULES
    return {**_RULES, "rule": RuleActor(careful_choice), "hasty_rule": _RULES["rule"]}


def rule_actor(settings: Phase2Settings) -> Actor | None:
    """Return the actor without a model that the settings ask for; None where a language model is to act."""
    return None if settings.model or settings.student != "packaged" else rules(settings).get(settings.actor)


def needed_by(settings: Phase2Settings) -> ChunkLabel | None:
    """Return what tells the chunks that the acting rule must have read; None for a model, or where clicks are all."""
    actor = rule_actor(settings)
    if actor is None or settings.labels == "clicks":
        return None
    return sufficient_chunks(actor, webshop_grammar, memory=settings.history == "memory")


@dataclass(frozen=True)
class Workbench:
    """What every agent shares."""

    settings: Phase2Settings
    """Settings of the experiment; an ablation changes some that only concern reading."""
    run: RunDirectory
    """Run that everything is kept in."""
    world: World
    """Shop and goals."""
    encoder: CachedEncoder
    """Encoder of events and chunks."""
    actor: Actor
    """What acts on that which is let through."""
    gates: Gates
    """Trainer of what decides what is read."""

    def gated(self, name: str, scorer: ChunkScorer, actor: Actor | None = None) -> ReadingAgent:
        """Return the agent that reads the chunks which a scorer ranks highest; the actor is the bench's by default."""
        chosen = self.settings
        view = top_chunks(
            scorer,
            webshop_grammar,
            top_k=chosen.top_k,
            budget=chosen.budget,
            chunking=chosen.chunking,
            by_rank=chosen.by_rank,
        )
        agent = ReadingAgent(name, actor or self.actor, self._remembering(view), webshop_grammar)
        return replace(agent, gate_candidates=chosen.gate_candidates)

    def query_rag(self, actor: Actor | None = None) -> ReadingAgent:
        """Return the agent that reads what is similar to its instruction."""
        return self.gated("baseline_rag", instruction_similarity(self.encoder), actor)

    def react(self, actor: Actor | None = None, name: str = "baseline_react") -> ReadingAgent:
        """Return the agent that reads whole pages and is offered every action."""
        turns = self.settings.history_turns if self.settings.history == "turns" else 0
        characters = self.settings.history_characters
        view = full_page(webshop_grammar, history_turns=turns, history_characters=characters)
        return ReadingAgent(name, actor or self.actor, self._remembering(view), webshop_grammar)

    def _remembering(self, view: View) -> View:
        return remembering(view, webshop_grammar) if self.settings.history == "memory" else view

    def attempt_stage(
        self, agent: ReadingAgent, stage: Stage, variant: str, goals: Sequence[int], *, labelled: bool = True
    ) -> list[Trajectory]:
        """Let an agent attempt goals; a stopped run goes on after the last complete episodes.

        Args:
            agent: agent that attempts them.
            stage: stage that they are a part of.
            variant: what tells this attempt from others of the stage.
            goals: goals to attempt.
            labelled: whether each step says what would have been best, which takes most of the time; bounds need it.
        """

        def compute(folder: Path) -> None:
            self.encoder.save()  # so that workers find what is embedded already
            job = RolloutJob(
                agent_name=agent.name,
                make_environments=self.world.environments,
                make_agent=lambda: agent,
                grammar=webshop_grammar,
                seed=self.settings.seed,
                max_steps=self.settings.step_limit,
                expert=expert if labelled else None,
                values=action_values if labelled else None,
                batch_size=LIVE_EPISODES,
            )
            journal = self.run.work_folder(stage, variant) / "episodes.jsonl"
            episodes = run_job(job, goals, engine=self.gates.engine, journal=journal)
            write_trajectories(folder / "episodes.jsonl", episodes)
            self.encoder.save()

        return list(read_trajectories(self.run.stage(stage, compute, variant) / "episodes.jsonl"))


@dataclass(frozen=True)
class TrainedGates:
    """The gates of an experiment; of most kinds there is one per training seed."""

    zero_shot: Sequence[Gate]
    """With their initial weights."""
    expert_pages: Gate
    """Trained on pages of demonstrations alone, for the first seed."""
    trained: Sequence[Gate]
    """Trained on the agent's own pages as well."""
    own_pages: Sequence[Trajectory]
    """The episodes that these pages are of."""
    steered: Sequence[SteeredGate]
    """Scorers that the state steers, trained on the same pages."""


def train_gates(bench: Workbench, recipe: RetrieverRecipe, state_model: RecurrentStateModel) -> TrainedGates:
    """Train gates on demonstrations, then in rounds on the pages that the agent with the first of them comes to."""
    settings, gates = bench.settings, bench.gates
    first, *_ = seeds = settings.retriever_seeds
    own: list[Trajectory] = []
    gate = expert_pages = gates.train_stage(f"seed{first}", recipe, first)
    for number in range(1, settings.own_pages_rounds + 1):
        start = (number - 1) * settings.own_pages_goals
        goals = bench.world.splits["train"][start : start + settings.own_pages_goals]
        agent = bench.gated(TRAINED, gate.scorer(recipe, bench.encoder))
        own += bench.attempt_stage(agent, Stage.OWN_PAGES, f"round{number}", goals)
        gate = gates.train_stage(f"seed{first}-round{number}", recipe, first, own)
    last = f"-round{settings.own_pages_rounds}" if own else ""
    return TrainedGates(
        zero_shot=[untrained_gate(recipe, state_model, bench.encoder, seed) for seed in seeds],
        expert_pages=expert_pages,
        trained=[gates.train_stage(f"seed{seed}{last}", recipe, seed, own) for seed in seeds],
        own_pages=own,
        steered=[train_steered_stage(gates, f"steered-seed{seed}{last}", recipe, seed, own) for seed in seeds],
    )


def attempt_held_out_goals(
    bench: Workbench, recipe: RetrieverRecipe, gates: TrainedGates
) -> dict[str, list[list[Trajectory]]]:
    """Let all agents attempt the test goals, the trained one once per training seed.

    Returns:
        Name of the agent -> its episodes by training seed.
    """
    settings, encoder, goals = bench.settings, bench.encoder, bench.world.splits["test"]

    def attempt(agent: ReadingAgent, variant: str = "") -> list[Trajectory]:
        return bench.attempt_stage(agent, Stage.AGENT, variant or agent.name, goals)

    def attempt_gated(name: str, kind: Sequence[Gate]) -> list[list[Trajectory]]:
        return [
            attempt(bench.gated(name, gate.scorer(recipe, encoder)), f"{name}-seed{seed}")
            for seed, gate in zip(settings.retriever_seeds, kind, strict=False)
        ]

    return {
        "baseline_react": [attempt(bench.react())],
        "baseline_rag": [attempt(bench.query_rag())],
        ZERO_SHOT: attempt_gated(ZERO_SHOT, gates.zero_shot[:1]),
        EXPERT_PAGES: attempt_gated(EXPERT_PAGES, [gates.expert_pages]),
        TRAINED: attempt_gated(TRAINED, gates.trained),
        STEERED: [
            attempt(bench.gated(STEERED, gate.scorer(encoder)), f"{STEERED}-seed{seed}")
            for seed, gate in zip(settings.retriever_seeds, gates.steered, strict=True)
        ],
        "oracle_gated": [
            attempt(bench.gated("oracle_gated", expert_target(encoder, webshop_grammar, bench.gates.needed)))
        ],
        "random_gated": [attempt(bench.gated("random_gated", random_scores(settings.seed)))],
    }


def attempt_with_rules(bench: Workbench) -> dict[str, list[list[Trajectory]]]:
    """Let the printed rules attempt the test goals with whole pages: what any actor should reach."""
    agents = {name: bench.react(actor, f"{name}_full_page") for name, actor in rules(bench.settings).items()}
    goals = bench.world.splits["test"]
    return {agent.name: [bench.attempt_stage(agent, Stage.AGENT, agent.name, goals)] for agent in agents.values()}
