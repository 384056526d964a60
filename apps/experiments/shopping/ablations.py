"""One change at a time to the trained state-gated agent, judged on the development goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.shopping.agents import TRAINED, TrainedGates, Workbench, rules
from experiments.shopping.gates.page_aware import RetrieverRecipe
from experiments.shopping.settings import Labels
from experiments.shopping.stages import Stage
from sightline.agents import ReadingAgent, Trajectory
from sightline.agents.reading import instruction_similarity

_READ_OTHERWISE: Mapping[str, Mapping[str, Any]] = {
    "k 1": {"top_k": 1, "budget": None},
    "k 2": {"top_k": 2, "budget": None},
    "k 5": {"top_k": 5, "budget": None},
    "budget 60": {"top_k": None, "budget": 60},
    "budget 120": {"top_k": None, "budget": 120},
    "page order": {"by_rank": False},
    "no memory": {"history": "none"},
    "every candidate": {"gate_candidates": False},
}
"""Changes of what the agent is shown; the first few are swept for query RAG as well."""
_SWEPT = 5
_LABELS: tuple[Labels, ...] = ("clicks", "needed", "both")


def run_ablations(bench: Workbench, gates: TrainedGates) -> dict[str, list[list[Trajectory]]]:
    """Return name of the variant -> its episodes on the development goals; the first is the agent as configured."""
    settings, goals = bench.settings, bench.world.splits["dev"]
    recipe, seed = RetrieverRecipe.of(settings), settings.retriever_seeds[0]
    scorer = gates.trained[0].scorer(recipe, bench.encoder)
    similarity = instruction_similarity(bench.encoder)
    agents: dict[str, ReadingAgent] = {
        "as configured": bench.gated(TRAINED, scorer),
        "query RAG": bench.query_rag(),
        "full page": bench.react(),
    }
    for number, (name, changes) in enumerate(_READ_OTHERWISE.items()):
        changed = replace(bench, settings=settings.model_copy(update=dict(changes)))
        agents[name] = changed.gated(TRAINED, scorer)
        if number < _SWEPT:
            agents[f"query RAG, {name}"] = changed.gated("baseline_rag", similarity)
    changes = _changed_recipes(recipe)
    if settings.study == "full" and bench.gates.needed is not None:
        changes |= {f"labelled by {by}": replace(recipe, labels=by) for by in _LABELS if by != recipe.labels}
    for name, changed in changes.items():
        gate = bench.gates.train_stage(name, changed, seed, gates.own_pages)
        agents[name] = bench.gated(TRAINED, gate.scorer(changed, bench.encoder))
    if settings.study == "full":
        start = settings.own_pages_rounds * settings.own_pages_goals
        further = bench.world.splits["train"][start : start + settings.own_pages_goals]
        own = bench.attempt_stage(agents["as configured"], Stage.OWN_PAGES, "one-more-round", further)
        gate = bench.gates.train_stage("one more round", recipe, seed, [*gates.own_pages, *own])
        agents["one more round of its own pages"] = bench.gated(TRAINED, gate.scorer(recipe, bench.encoder))
    expert_only = gates.expert_pages.scorer(recipe, bench.encoder)
    agents["without its own pages"] = bench.gated(TRAINED, expert_only)
    for name, actor in rules(settings).items():
        if actor is not bench.actor:
            agents[f"{name} acts"] = bench.gated(TRAINED, scorer, actor)
            agents[f"{name} acts, query RAG"] = bench.query_rag(actor)
            agents[f"{name} acts, full page"] = bench.react(actor)
    return {name: [bench.attempt_stage(agent, Stage.ABLATION, name, goals)] for name, agent in agents.items()}


def _changed_recipes(recipe: RetrieverRecipe) -> dict[str, RetrieverRecipe]:
    variants = {
        f"query from {source}": replace(recipe, query_from=source)
        for source in ("state", "instruction", "both")
        if source != recipe.query_from
    }
    variants["navigation labelled" if not recipe.navigation else "no navigation labelled"] = replace(
        recipe, navigation=not recipe.navigation
    )
    if recipe.page_width is not None:
        variants["every chunk judged alone"] = replace(recipe, page_width=None)
    return variants
