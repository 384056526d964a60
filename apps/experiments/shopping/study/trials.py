"""Studies: what trained agents do on fresh goals of catalogues that nothing was tuned on, judged by a plan made before.

A study is a few trainings of phase 2, each a run of its own, and for each kind of page the same agents on fresh goals.
How much each reads is chosen on development goals; then every comparison of the plan is one test of one Holm family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal

from experiments.shopping.agents import STEERED, TRAINED, Workbench, rules
from experiments.shopping.settings import Pages, Phase2Settings
from experiments.shopping.stages import Stage
from experiments.shopping.study.training import Compared
from experiments.shopping.world import open_fresh_world
from sightline.agents import Actor, ReadingAgent, Trajectory, summarise
from sightline.agents.evaluation import (
    AgentSummary,
    Comparison,
    EpisodesBySeed,
    Interval,
    adjust_together,
    compare,
    holm,
    within_margin,
)
from sightline.agents.grammar import webshop_grammar
from sightline.agents.reading import expert_target, instruction_similarity, random_scores
from sightline.retrieval import ChunkingConfig

MARGIN: Final = 0.03
"""Success rates that differ by less are equal."""
TOKEN_SHARE: Final = 0.4
"""Share of the full page's tokens that the gate may read where it is compared with that."""
LEVEL: Final = 0.05
"""A comparison is decided when its adjusted p-value is at most this."""
PLAN: Final = (
    "Fixed before the run, for goals of a catalogue with a seed of its own. On short and on long pages: (1) Does the "
    "success of the trained gate differ from that of query RAG? RAG's k is the smallest with which it reads, on "
    "development goals, as many tokens as the gate. (2) Does the trained gate lose 3 points of success or more against "
    "the full page? It reads with the largest k that takes, on development goals, at most 40 % of the full page's "
    "tokens, or k 1 where none does. For the control: does the trained gate differ by 3 points or more from (3) query "
    "RAG as in 1, and (4) the full page? On all pages: does the success of the steered gate differ from that of (5) "
    "the trained gate, with as many chunks, and (6) query RAG as in 1? All are paired on goals, with training seeds "
    "resampled, and adjusted together by Holm's method."
)
"""What is compared, and how."""
LONG: Final[Mapping[str, Any]] = {
    "pages": "long",
    "training_goals": 800,
    "top_k": 6,
    "chunking": {"max_characters": 300},
}
"""What a training on long pages has of its own."""
ATTACKED: Final = 0.3
"""Share of products whose texts give commands, in a full study for which no other was asked."""
FULL_PAGE, GATE, STEERED_GATE, FRUGAL_GATE, RAG = (
    "full page",
    "trained gate",
    "steered gate",
    "trained gate, 40 % of tokens",
    "query RAG, equal tokens",
)
WHOLE_PAGE_RULES: Final[Mapping[str, str]] = {"first hit, full page": "first_hit", "rule, full page": "rule"}
"""Agents that stand beside other actors, and the rules that they act by."""
_ORACLE: Final = "oracle"
_CUTOFFS: Final = (1, 2, 3, 4, 6, 9, 12)
"""The k that operating points are chosen from, and that are swept."""
_BUDGETS: Final = (60, 120, 240)
"""Tokens of chunks that are swept."""


@dataclass(frozen=True)
class PagesStudy:
    """What agents did on fresh goals of one kind of page."""

    pages: Pages
    """Kind of page."""
    reading: Mapping[str, int | None]
    """Agent -> k that was chosen on development goals."""
    episodes: Mapping[str, EpisodesBySeed]
    """Agent -> its episodes by training seed, those of the plan first."""
    seed: int
    """Seed of the bootstrap."""

    @cached_property
    def summaries(self) -> list[AgentSummary]:
        """One row per agent; made once, since a sweep has many agents."""
        return summarise(self.episodes, seed=self.seed)


@dataclass(frozen=True)
class Planned:
    """One comparison of the plan."""

    pages: str
    """Kind of page."""
    candidate: str
    """Agent that is judged."""
    baseline: str
    """Agent that it is compared with."""
    asked: Literal["difference", "no loss", "tie"]
    """Whether they differ at all, whether a loss of the margin is excluded, or any difference of it."""
    goals: int
    """Paired goals."""
    success_rate: Interval | None
    """Candidate minus baseline."""
    token_share: float
    """The candidate's tokens per episode over the baseline's."""
    p_value: float
    """P-value of what is asked."""
    adjusted_p_value: float = 1.0
    """It, after Holm's adjustment."""

    @property
    def outcome(self) -> str:
        """What the test and the interval allow to be said."""
        if self.success_rate is None or self.adjusted_p_value > LEVEL:
            return "not shown"
        if self.asked == "difference":
            return "beats" if self.success_rate.value > 0 else "worse"
        if self.asked == "tie":
            return "a tie"
        return "keeps" if self.token_share <= TOKEN_SHARE else "keeps, with more tokens"


def short_settings(settings: Phase2Settings) -> Phase2Settings:
    """Return the settings of a study's training on short pages: a full study has attacks."""
    share = settings.injections or (ATTACKED if settings.study == "full" else 0.0)
    return settings.model_copy(update={"injections": share})


def long_settings(settings: Phase2Settings) -> Phase2Settings:
    """Return the settings of the training on long pages that belongs to a full study."""
    given = {**LONG, "chunking": ChunkingConfig(**LONG["chunking"])}
    return settings.model_copy(update={**given, "training_goals": min(LONG["training_goals"], settings.training_goals)})


def study_pages(compared: Compared, pages: Pages, *, sweeps: bool) -> PagesStudy:
    """Let the agents of a training attempt fresh goals of a kind of page.

    Args:
        compared: the training.
        pages: kind of page, of the training's shop or its control.
        sweeps: whether every method is also tried with every k and budget, the gate with its first seed.
    """
    bench, settings = compared.bench, compared.bench.settings
    rag_k, frugal_k = _choose_reading(compared)
    fresh = replace(bench, world=open_fresh_world(settings, pages))
    goals = fresh.world.splits["test"]

    def attempt(agent: ReadingAgent, variant: str) -> list[Trajectory]:
        name = f"{pages}-{variant}"
        return fresh.attempt_stage(agent, Stage.STUDY, name, goals, labelled=agent.name == _ORACLE)

    def gates_at(k: int | None) -> list[list[Trajectory]]:
        there = _reading(fresh, k)
        return [
            attempt(there.gated(TRAINED, gate.scorer(compared.recipe, bench.encoder)), f"gate-{k}-seed{seed}")
            for seed, gate in zip(settings.retriever_seeds, compared.trained.trained, strict=True)
        ]

    episodes: dict[str, EpisodesBySeed] = {
        FULL_PAGE: [attempt(fresh.react(), "full-page")],
        RAG: [attempt(_reading(fresh, rag_k).query_rag(), f"rag-k-{rag_k}")],
        GATE: gates_at(settings.top_k),
        STEERED_GATE: [
            attempt(fresh.gated(STEERED, gate.scorer(bench.encoder)), f"steered-gate-{settings.top_k}-seed{seed}")
            for seed, gate in zip(settings.retriever_seeds, compared.trained.steered, strict=True)
        ],
    }
    if pages != "control":
        episodes[FRUGAL_GATE] = episodes[GATE] if frugal_k == settings.top_k else gates_at(frugal_k)
    for method, scorer in _methods(compared).items() if sweeps else ():
        for limit, changes in _limits():
            there = replace(fresh, settings=settings.model_copy(update=changes))
            episodes[f"{method}, {limit}"] = [attempt(there.gated(method, scorer), f"{method}-{limit}")]
    reading = {GATE: settings.top_k, STEERED_GATE: settings.top_k, RAG: rag_k, FRUGAL_GATE: frugal_k}
    return PagesStudy(pages, reading, episodes, settings.seed)


@dataclass(frozen=True)
class ActorsStudy:
    """What other actors did on fresh goals, and rules beside them."""

    episodes: Mapping[str, EpisodesBySeed]
    """Actor and view -> episodes; agents are named as in `let_act`."""
    seed: int
    """Seed of the intervals."""

    @cached_property
    def summaries(self) -> Sequence[AgentSummary]:
        """A row for each agent."""
        return summarise(self.episodes, seed=self.seed)

    @cached_property
    def comparisons(self) -> Sequence[Comparison]:
        """The student less each rule on whole pages, and less the lexical actor with the same view; one family."""
        beside = [("student, full page", rule) for rule in WHOLE_PAGE_RULES]
        beside += [(f"student, {view}", f"lexical, {view}") for view in ("full page", "query RAG", "trained gate")]
        return adjust_together([compare(self.episodes, *pair, seed=self.seed) for pair in beside])


def let_act(compared: Compared, actors: Mapping[str, Actor], goals: int) -> ActorsStudy:
    """Return what other actors do on some fresh goals with whole pages, query RAG and the gate, and rules beside them.

    Args:
        compared: the training whose gate is used.
        actors: actors by name.
        goals: number of goals, the first of the fresh ones.
    """
    bench, settings = compared.bench, compared.bench.settings
    fresh = replace(bench, world=open_fresh_world(settings, settings.pages))
    scorer = compared.trained.trained[0].scorer(compared.recipe, bench.encoder)
    agents: dict[str, ReadingAgent] = {}
    for name, actor in actors.items():
        there = replace(fresh, actor=actor)
        agents[f"{name}, full page"] = there.react()
        agents[f"{name}, query RAG"] = there.query_rag()
        agents[f"{name}, trained gate"] = there.gated(TRAINED, scorer)
    for name, rule in WHOLE_PAGE_RULES.items():
        agents[name] = fresh.react(rules(settings)[rule])
    chosen = fresh.world.splits["test"][:goals]
    episodes = {each: [fresh.attempt_stage(agent, Stage.STUDY, each, chosen)] for each, agent in agents.items()}
    return ActorsStudy(episodes, settings.seed)


def judge(studies: Sequence[PagesStudy]) -> list[Planned]:
    """Return the comparisons of the plan, adjusted as one family."""
    found = [planned for study in studies for planned in _planned(study)]
    adjusted = holm([planned.p_value for planned in found])
    return [replace(one, adjusted_p_value=value) for one, value in zip(found, adjusted, strict=True)]


def study_results(studies: Sequence[PagesStudy], planned: Sequence[Planned]) -> dict[str, Any]:
    """Return the numbers as `results.json` holds them."""
    return {
        "plan": PLAN,
        "planned": [asdict(one) | {"outcome": one.outcome} for one in planned],
        "pages": {
            study.pages: {
                "k": dict(study.reading),
                "agents": [row.model_dump(mode="json") for row in study.summaries],
            }
            for study in studies
        },
    }


def _planned(study: PagesStudy) -> list[Planned]:
    seed = study.seed
    tokens = {row.agent: row.prompt_tokens.value for row in study.summaries if row.prompt_tokens}

    def within(candidate: str, baseline: str, asked: Literal["no loss", "tie"]) -> Planned:
        found = within_margin(study.episodes, candidate, baseline, margin=MARGIN, seed=seed)
        p_value = found.equivalence_p if asked == "tie" else found.no_loss_p
        share = tokens.get(candidate, 0.0) / tokens.get(baseline, 1.0)
        return Planned(study.pages, candidate, baseline, asked, found.goals, found.success_rate, share, p_value)

    def differs(candidate: str, baseline: str) -> Planned:
        told = compare(study.episodes, candidate, baseline, seed=seed)
        share = tokens.get(candidate, 0.0) / tokens.get(baseline, 1.0)
        return Planned(
            study.pages, candidate, baseline, "difference", told.goals, told.success_rate, share, told.p_value
        )

    steered = [differs(STEERED_GATE, GATE), differs(STEERED_GATE, RAG)]
    if study.pages == "control":
        return [within(GATE, RAG, "tie"), within(GATE, FULL_PAGE, "tie"), *steered]
    return [differs(GATE, RAG), within(FRUGAL_GATE, FULL_PAGE, "no loss"), *steered]


def _methods(compared: Compared) -> dict[str, Any]:
    bench = compared.bench
    return {
        "query RAG": instruction_similarity(bench.encoder),
        "trained gate": compared.trained.trained[0].scorer(compared.recipe, bench.encoder),
        _ORACLE: expert_target(bench.encoder, webshop_grammar, bench.gates.needed),
        "random": random_scores(bench.settings.seed),
    }


def _limits() -> list[tuple[str, dict[str, int | None]]]:
    cutoffs = [(f"k {k}", {"top_k": k, "budget": None}) for k in _CUTOFFS]
    return cutoffs + [(f"budget {tokens}", {"top_k": None, "budget": tokens}) for tokens in _BUDGETS]


def _reading(bench: Workbench, k: int | None) -> Workbench:
    """Return the bench whose agents read k chunks."""
    return replace(bench, settings=bench.settings.model_copy(update={"top_k": k}))


def _choose_reading(compared: Compared) -> tuple[int, int]:
    """Return RAG's k that reads what the gate reads, and the gate's that reads 40 % of whole pages, by development."""
    bench, goals = compared.bench, compared.bench.world.splits["dev"]

    def tokens(agent: ReadingAgent, variant: str) -> float:
        episodes = bench.attempt_stage(agent, Stage.STUDY, f"dev-{variant}", goals, labelled=False)
        return sum(step.prompt_tokens for episode in episodes for step in episode.steps) / len(episodes)

    scorer = compared.trained.trained[0].scorer(compared.recipe, bench.encoder)
    read = tokens(bench.gated(TRAINED, scorer), "gate")
    whole = tokens(bench.react(), "full-page")
    as_much = (k for k in _CUTOFFS if tokens(_reading(bench, k).query_rag(), f"rag-k-{k}") >= read)
    rag = next(as_much, _CUTOFFS[-1])
    frugal = (
        k
        for k in reversed(_CUTOFFS)
        if tokens(_reading(bench, k).gated(TRAINED, scorer), f"gate-k-{k}") <= TOKEN_SHARE * whole
    )
    return rag, next(frugal, _CUTOFFS[0])
