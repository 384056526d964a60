"""What phase 2 measured, and the numbers of it that are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, Final

import numpy as np

from experiments.shopping.agents import STEERED, TRAINED
from experiments.shopping.ranking import RetrievalScores
from experiments.shopping.teachers import Teachers
from sightline.agents import Table, summarise
from sightline.agents.chat import TokenPrices
from sightline.agents.evaluation import (
    AgentSummary,
    Comparison,
    DecisionRate,
    EpisodesBySeed,
    Failure,
    Interval,
    adjust_together,
    agreement_by_page,
    bootstrap_interval,
    compare,
    detectable_difference,
    dollars_per_100_successes,
    find_failures,
    paired_difference,
    power_statement,
    recall_by_page,
    recall_by_step,
    tokens_per_success,
    verdict_text,
)
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import ChunkScorer
from sightline.agents.state import NextActionMetrics
from sightline.retrieval import ChunkingConfig

FULL_PAGE: Final = "baseline_react"
TOKEN_MARK: Final = 0.4
"""Share of the whole page's tokens with which its success should be kept."""
COMPETENT_WITHIN: Final = 0.03
"""An actor may, with whole pages, succeed this much less often than the best printed rule and still be judged by."""
CLAIMED_AGAINST: Final = ("baseline_rag", "baseline_react")
"""The agents that the experiment's claims are about; the others are bounds and controls."""
STEERED_AGAINST: Final = (TRAINED, "baseline_rag")
"""The agents that the steered gate is compared with."""


def estimate_mean(values: np.ndarray, seed: int) -> Interval:
    """Return the mean of `[goals, seeds]` with its 95 % bootstrap interval over goals and training seeds."""
    return bootstrap_interval(values, np.random.default_rng(seed))


def estimate_difference(candidate: np.ndarray, baseline: np.ndarray, seed: int) -> Interval:
    """Return the paired difference with its 95 % bootstrap interval over goals and training seeds."""
    return paired_difference(candidate, baseline, np.random.default_rng(seed))


def agreements(episodes: Mapping[str, EpisodesBySeed], seed: int) -> dict[str, dict[str, DecisionRate]]:
    """Return agent -> kind of page -> how often it did what was best there, with intervals by a seed."""
    return {name: agreement_by_page(of_agent, webshop_grammar, seed=seed) for name, of_agent in episodes.items()}


@dataclass(frozen=True)
class Findings:
    """Everything that phase 2 measured."""

    next_action: Sequence[NextActionMetrics]
    """Epochs of the state model's training."""
    retrieval: Mapping[str, RetrievalScores]
    """Method -> how it ranks the expert's chunk on held-out pages."""
    episodes: Mapping[str, EpisodesBySeed]
    """Agent -> its episodes on held-out goals, by training seed."""
    ablations: Mapping[str, EpisodesBySeed]
    """Variant -> its episodes on development goals, by training seed."""
    seed: int
    """Seed of the bootstrap."""
    chunking: ChunkingConfig = ChunkingConfig()  # noqa: RUF009  (frozen)
    """How the agents' pages were cut."""
    prices: TokenPrices | None = None
    """Prices of the acting model's tokens; None where nobody gave them."""
    scorer: ChunkScorer | None = None
    """Scorer of the trained agent with its first seed, to show scores of chunks that were passed over."""
    by_target: Table | None = None
    """Recall on the expert's pages by what was to be clicked."""
    rules: Mapping[str, EpisodesBySeed] = field(default_factory=dict)
    """Printed rule that reads whole pages -> its episodes on the same goals."""
    teachers: Teachers | None = None
    """What the expert and an honest reader reach there."""

    @property
    def all_episodes(self) -> Mapping[str, EpisodesBySeed]:
        """Episodes of the agents, then of the printed rules."""
        return {**self.episodes, **self.rules}

    @cached_property
    def summaries(self) -> list[AgentSummary]:
        """One row per agent, then one per printed rule; made once, as many ask for them."""
        return summarise(self.all_episodes, seed=self.seed)

    def incompetence(self) -> str | None:
        """Return why nothing can be said of gating: the actor shops worse than a rule; None where it does not."""
        rates = {row.agent: row.success_rate.value for row in self.summaries if row.success_rate is not None}
        known = {name: rates[name] for name in self.rules if name in rates}
        if not known or FULL_PAGE not in rates:
            return None
        best = max(known, key=known.__getitem__)
        if rates[FULL_PAGE] >= known[best] - COMPETENT_WITHIN:
            return None
        return (
            f"No verdict on gating: with whole pages the actor succeeds in {rates[FULL_PAGE]:.1%} of the goals and "
            f"{best} in {known[best]:.1%}, more than {100 * COMPETENT_WITHIN:g} points more. What such an actor does "
            "with less says little of what it was shown."
        )

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The trained gate against all others, the steered one against it and query RAG: one Holm family, made once."""
        pairs = [(TRAINED, name) for name in self.episodes if name not in (TRAINED, STEERED)]
        if STEERED in self.episodes:
            pairs += [(STEERED, name) for name in STEERED_AGAINST if name in self.episodes]
        return adjust_together([compare(self.episodes, one, other, seed=self.seed) for one, other in pairs])

    def claims(self) -> list[str]:
        """Return the verdicts against both baselines and on the steered gate, in words, or why there are none."""
        reason = self.incompetence()
        steered = [comparison for comparison in self.comparisons if comparison.candidate == STEERED]
        return [verdict_text(each) for each in (*self._claimed(), *steered)] if reason is None else [reason]

    def share_of_tokens(self) -> str:
        """Return how many tokens the trained agent reads, as a share of what whole pages cost."""
        tokens = {row.agent: row.prompt_tokens.value for row in self.summaries if row.prompt_tokens is not None}
        if not tokens.get(FULL_PAGE) or TRAINED not in tokens:
            return ""
        return (
            f"{TRAINED} reads {tokens[TRAINED] / tokens[FULL_PAGE]:.0%} of the tokens of {FULL_PAGE}; the mark is the "
            f"same success with at most {TOKEN_MARK:.0%}."
        )

    def power(self) -> list[str]:
        """Return what the run could see with the discordance that it met, per baseline."""
        return [
            f"Against {comparison.baseline}: "
            + power_statement(comparison.goals, comparison.discordance, tests=comparison.tests)
            for comparison in self._claimed()
            if comparison.discordance > 0
        ]

    def detectable(self) -> dict[str, float | None]:
        """Return baseline -> smallest difference of success rates that the run would find four times in five."""
        return {
            comparison.baseline: detectable_difference(comparison.goals, comparison.discordance, tests=comparison.tests)
            for comparison in self._claimed()
            if comparison.discordance > 0
        }

    def recall_differences(self) -> dict[str, Interval]:
        """Return recall@5 of the trained retriever minus that of each other method."""
        trained = self.retrieval["state_gated_trained"].recall[5]
        return {
            name: estimate_difference(trained, scores.recall[5], self.seed)
            for name, scores in self.retrieval.items()
            if name != "state_gated_trained"
        }

    @cached_property
    def recall_by_step(self) -> dict[str, dict[int, DecisionRate]]:
        """Agent -> step -> how often the needed chunk was read; agents that read whole pages are left out."""
        found = {
            agent: recall_by_step(episodes, webshop_grammar, self.chunking, seed=self.seed)
            for agent, episodes in self.episodes.items()
        }
        return {agent: recall for agent, recall in found.items() if recall}

    @cached_property
    def recall_by_page(self) -> dict[str, dict[str, DecisionRate]]:
        """Agent -> kind of page -> the same."""
        found = {
            agent: recall_by_page(episodes, webshop_grammar, self.chunking, seed=self.seed)
            for agent, episodes in self.episodes.items()
        }
        return {agent: recall for agent, recall in found.items() if recall}

    @cached_property
    def agreement_by_page(self) -> dict[str, dict[str, DecisionRate]]:
        """Agent or printed rule -> kind of page -> how often it did what was best there."""
        return agreements(self.all_episodes, self.seed)

    def failures(self) -> list[Failure]:
        """Return the trained agent's failed episodes, over all training seeds."""
        return find_failures(chain.from_iterable(self.episodes[TRAINED]), webshop_grammar, self.chunking)

    def _claimed(self) -> list[Comparison]:
        comparisons = {each.baseline: each for each in self.comparisons if each.candidate == TRAINED}
        return [comparisons[baseline] for baseline in CLAIMED_AGAINST]


def results(findings: Findings) -> dict[str, Any]:
    """Return the numbers as `results.json` holds them; nothing in it depends on the clock."""
    seed = findings.seed
    return {
        "schema_version": 4,
        "claims": findings.claims(),
        "teachers": [] if findings.teachers is None else findings.teachers.sentences(),
        "share_of_tokens": findings.share_of_tokens(),
        "agents": [summary.model_dump(mode="json") for summary in findings.summaries],
        "comparisons": [comparison.model_dump(mode="json") for comparison in findings.comparisons],
        "detectable_difference": findings.detectable(),
        "retrieval": {
            name: {
                "recall": {str(k): asdict(estimate_mean(values, seed)) for k, values in scores.recall.items()},
                "mean_reciprocal_rank": asdict(estimate_mean(scores.reciprocal_rank, seed)),
                "ndcg_at_5": asdict(estimate_mean(scores.ndcg, seed)),
            }
            for name, scores in findings.retrieval.items()
        },
        "recall_at_5_trained_minus": {name: asdict(value) for name, value in findings.recall_differences().items()},
        "recall_by_target": None if findings.by_target is None else [list(row) for row in findings.by_target.rows],
        "recall_by_step": {
            agent: {str(step): asdict(recall) for step, recall in found.items()}
            for agent, found in findings.recall_by_step.items()
        },
        "recall_by_page": {
            agent: {str(kind): asdict(recall) for kind, recall in found.items()}
            for agent, found in findings.recall_by_page.items()
        },
        "agreement_by_page": {
            agent: {str(kind): asdict(rate) for kind, rate in found.items()}
            for agent, found in findings.agreement_by_page.items()
        },
        "failures": [
            {"goal": failure.trajectory.goal, "ending": failure.ending, "evidence": failure.evidence.value}
            for failure in findings.failures()
        ],
        "tokens_per_success": _per_agent(findings, lambda episodes: tokens_per_success(episodes, seed=seed)),
        "dollars_per_100_successes": {}
        if findings.prices is None
        else _per_agent(
            findings, lambda episodes, prices=findings.prices: dollars_per_100_successes(episodes, prices, seed=seed)
        ),
        "next_action": [asdict(epoch) for epoch in findings.next_action],
        "ablations": [summary.model_dump(mode="json") for summary in summarise(findings.ablations, seed=seed)],
    }


def _per_agent(
    findings: Findings, measure: Callable[[EpisodesBySeed], Interval | None]
) -> dict[str, dict[str, float | str | None] | None]:
    """Return one interval per agent; JSON has no infinity, so an end without bound is null."""
    return {agent: _finite(measure(episodes)) for agent, episodes in findings.episodes.items()}


def _finite(value: Interval | None) -> dict[str, float | str | None] | None:
    if value is None:
        return None
    unbounded = {} if math.isfinite(value.high) else {"high": None}
    return asdict(value) | unbounded
