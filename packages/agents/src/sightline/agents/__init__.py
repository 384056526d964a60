"""Web agents that choose what to read: trajectories, actors, a state model, retrieval-gated agents, evaluation.

An agent such as `baseline_rag` turns a `Situation` into a `Decision`; `roll_out` lets it act in an environment, and
`summarise` and `compare` say how well it did. Names are imported on first use, so that nothing here loads PyTorch
before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.agents.actions import ACTION_TYPES, ActionType, action_type, candidate_actions, propose_queries
    from sightline.agents.chat import ChatActor
    from sightline.agents.chat_cache import AnswerCache
    from sightline.agents.cost import Prices, cost_table, pareto_frontier
    from sightline.agents.demonstrations import collect
    from sightline.agents.engines import Engine, InProcess, RolloutError, RolloutJob
    from sightline.agents.episode import Episode, EpisodeInProgress
    from sightline.agents.evaluation import (
        MATCH_MARGIN,
        MINIMUM_GOALS,
        AgentSummary,
        Comparison,
        Outcome,
        compare,
        compare_all,
        comparisons_table,
        outcome,
        results_csv,
        results_table,
        summarise,
        verdict,
    )
    from sightline.agents.failures import Failure, find_failures
    from sightline.agents.language_model import LanguageModelActor
    from sightline.agents.ledger import LedgerRow, LedgerSummary, TokenLedger, TokenPrices
    from sightline.agents.lexical import LexicalActor
    from sightline.agents.next_action import (
        NextActionConfig,
        NextActionMetrics,
        NextActionResult,
        train_next_action,
    )
    from sightline.agents.plots import bars_with_intervals, learning_curves, recall_curves, success_against_tokens
    from sightline.agents.policies import (
        ChunkScorer,
        QueryFrom,
        Reading,
        ReadingAgent,
        View,
        baseline_rag,
        baseline_react,
        condition_dimension,
        condition_vectors,
        expert_target,
        full_page,
        instruction_similarity,
        oracle_gated,
        random_gated,
        random_scores,
        recurrent_state_gated,
        situation_conditions,
        state_conditioned,
        top_chunks,
    )
    from sightline.agents.power import detectable_difference, mcnemar_power, power_statement, power_table
    from sightline.agents.prompts import (
        abbreviate_products,
        react_history,
        react_prompt,
        render_prompt,
        strip_instruction,
    )
    from sightline.agents.protocols import Actor, Agent, Demonstrator, Environment, RestorableEnvironment
    from sightline.agents.ray_engine import RayCluster
    from sightline.agents.records import ActionDistribution, Attention, Decision, Event, EventKind, Situation
    from sightline.agents.report import Section, Table, render_report, save_figure
    from sightline.agents.retrieval_data import example_situation, page_chunks, retrieval_examples, score_pages
    from sightline.agents.rollout import roll_out, run_job
    from sightline.agents.rollout_journal import JournalError
    from sightline.agents.runs import RunDirectory, RunError, write_metrics
    from sightline.agents.significance import holm, mcnemar_test, sign_flip_test
    from sightline.agents.state_model import EventBatch, RecurrentStateModel, StateModelConfig
    from sightline.agents.statistics import Interval, bootstrap_interval, paired_difference, wilson_interval
    from sightline.agents.step_recall import recall_by_page, recall_by_step
    from sightline.agents.student import StudentConfig, StudentReport, train_student
    from sightline.agents.student_data import StudentDataConfig, StudentExample, student_examples
    from sightline.agents.trajectory import Step, Trajectory, read_trajectories, write_trajectories
    from sightline.agents.worker_engine import Workers

__all__ = [
    "ACTION_TYPES",
    "MATCH_MARGIN",
    "MINIMUM_GOALS",
    "ActionDistribution",
    "ActionType",
    "Actor",
    "Agent",
    "AgentSummary",
    "AnswerCache",
    "Attention",
    "ChatActor",
    "ChunkScorer",
    "Comparison",
    "Decision",
    "Demonstrator",
    "Engine",
    "Environment",
    "Episode",
    "EpisodeInProgress",
    "Event",
    "EventBatch",
    "EventKind",
    "Failure",
    "InProcess",
    "Interval",
    "JournalError",
    "LanguageModelActor",
    "LedgerRow",
    "LedgerSummary",
    "LexicalActor",
    "NextActionConfig",
    "NextActionMetrics",
    "NextActionResult",
    "Outcome",
    "Prices",
    "QueryFrom",
    "RayCluster",
    "Reading",
    "ReadingAgent",
    "RecurrentStateModel",
    "RestorableEnvironment",
    "RolloutError",
    "RolloutJob",
    "RunDirectory",
    "RunError",
    "Section",
    "Situation",
    "StateModelConfig",
    "Step",
    "StudentConfig",
    "StudentDataConfig",
    "StudentExample",
    "StudentReport",
    "Table",
    "TokenLedger",
    "TokenPrices",
    "Trajectory",
    "View",
    "Workers",
    "abbreviate_products",
    "action_type",
    "bars_with_intervals",
    "baseline_rag",
    "baseline_react",
    "bootstrap_interval",
    "candidate_actions",
    "collect",
    "compare",
    "compare_all",
    "comparisons_table",
    "condition_dimension",
    "condition_vectors",
    "cost_table",
    "detectable_difference",
    "example_situation",
    "expert_target",
    "find_failures",
    "full_page",
    "holm",
    "instruction_similarity",
    "learning_curves",
    "mcnemar_power",
    "mcnemar_test",
    "oracle_gated",
    "outcome",
    "page_chunks",
    "paired_difference",
    "pareto_frontier",
    "power_statement",
    "power_table",
    "propose_queries",
    "random_gated",
    "random_scores",
    "react_history",
    "react_prompt",
    "read_trajectories",
    "recall_by_page",
    "recall_by_step",
    "recall_curves",
    "recurrent_state_gated",
    "render_prompt",
    "render_report",
    "results_csv",
    "results_table",
    "retrieval_examples",
    "roll_out",
    "run_job",
    "save_figure",
    "score_pages",
    "sign_flip_test",
    "situation_conditions",
    "state_conditioned",
    "strip_instruction",
    "student_examples",
    "success_against_tokens",
    "summarise",
    "top_chunks",
    "train_next_action",
    "train_student",
    "verdict",
    "wilson_interval",
    "write_metrics",
    "write_trajectories",
]

_MODULES = {
    "actions": ("ACTION_TYPES", "ActionType", "action_type", "candidate_actions", "propose_queries"),
    "chat": ("ChatActor",),
    "demonstrations": ("collect",),
    "evaluation": (
        "AgentSummary",
        "Comparison",
        "MATCH_MARGIN",
        "MINIMUM_GOALS",
        "Outcome",
        "compare",
        "compare_all",
        "comparisons_table",
        "outcome",
        "results_csv",
        "results_table",
        "summarise",
        "verdict",
    ),
    "language_model": ("LanguageModelActor",),
    "lexical": ("LexicalActor",),
    "next_action": ("NextActionConfig", "NextActionMetrics", "NextActionResult", "train_next_action"),
    "plots": ("bars_with_intervals", "learning_curves", "recall_curves", "success_against_tokens"),
    "policies": (
        "ChunkScorer",
        "QueryFrom",
        "Reading",
        "ReadingAgent",
        "View",
        "baseline_rag",
        "baseline_react",
        "condition_dimension",
        "condition_vectors",
        "expert_target",
        "full_page",
        "instruction_similarity",
        "oracle_gated",
        "random_gated",
        "random_scores",
        "recurrent_state_gated",
        "situation_conditions",
        "state_conditioned",
        "top_chunks",
    ),
    "prompts": ("abbreviate_products", "react_history", "react_prompt", "render_prompt", "strip_instruction"),
    "protocols": ("Actor", "Agent", "Demonstrator", "Environment", "RestorableEnvironment"),
    "records": ("ActionDistribution", "Attention", "Decision", "Event", "EventKind", "Situation"),
    "report": ("Section", "Table", "render_report", "save_figure"),
    "retrieval_data": ("example_situation", "page_chunks", "retrieval_examples", "score_pages"),
    "rollout": (
        "roll_out",
        "run_job",
    ),
    "runs": ("RunDirectory", "RunError", "write_metrics"),
    "state_model": ("EventBatch", "RecurrentStateModel", "StateModelConfig"),
    "statistics": ("Interval", "bootstrap_interval", "paired_difference", "wilson_interval"),
    "student": ("StudentConfig", "StudentReport", "train_student"),
    "student_data": ("StudentDataConfig", "StudentExample", "student_examples"),
    "trajectory": ("Step", "Trajectory", "read_trajectories", "write_trajectories"),
    "episode": ("Episode", "EpisodeInProgress"),
    "engines": ("Engine", "InProcess", "RolloutError", "RolloutJob"),
    "rollout_journal": ("JournalError",),
    "worker_engine": ("Workers",),
    "ray_engine": ("RayCluster",),
    "chat_cache": ("AnswerCache",),
    "ledger": ("LedgerRow", "LedgerSummary", "TokenLedger", "TokenPrices"),
    "significance": ("holm", "mcnemar_test", "sign_flip_test"),
    "power": ("detectable_difference", "mcnemar_power", "power_statement", "power_table"),
    "failures": ("Failure", "find_failures"),
    "step_recall": ("recall_by_page", "recall_by_step"),
    "cost": ("Prices", "cost_table", "pareto_frontier"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
