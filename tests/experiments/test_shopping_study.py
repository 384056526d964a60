from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from experiments.shopping.settings import Phase2Settings
from experiments.shopping.study.report import planned_table, study_sections
from experiments.shopping.study.trials import (
    FRUGAL_GATE,
    FULL_PAGE,
    GATE,
    RAG,
    STEERED_GATE,
    WHOLE_PAGE_RULES,
    ActorsStudy,
    PagesStudy,
    judge,
    long_settings,
    short_settings,
    study_results,
)
from experiments.shopping.world import needs_no_choice, open_fresh_world, open_world
from sightline.agents.trajectory import Step, Trajectory

GOALS = 300


def episodes(won: np.ndarray, tokens: int) -> list[Trajectory]:
    """One step each, with or without the full reward."""
    return [
        Trajectory(
            episode_id=str(goal),
            goal=goal,
            agent="one",
            seed=0,
            instruction=f"task {goal}",
            steps=(
                Step(
                    observation="page",
                    available_actions=("click[buy now]",),
                    action="click[buy now]",
                    reward=float(success),
                    prompt_tokens=tokens,
                ),
            ),
            final_observation="",
            total_reward=float(success),
            terminated=True,
            truncated=False,
        )
        for goal, success in enumerate(won)
    ]


def a_study(
    pages: str, gate: np.ndarray, rag: np.ndarray, full: np.ndarray, steered: np.ndarray | None = None
) -> PagesStudy:
    """Who succeeds at which goal; the steered gate does where the trained one does, unless told otherwise."""
    found = {
        FULL_PAGE: [episodes(full, 1000)],
        RAG: [episodes(rag, 400)],
        GATE: [episodes(gate, 390)] * 3,
        STEERED_GATE: [episodes(gate if steered is None else steered, 390)] * 3,
        FRUGAL_GATE: [episodes(gate, 390)] * 3,
    }
    return PagesStudy("control" if pages == "control" else "short", {GATE: 3, RAG: 4, FRUGAL_GATE: 3}, found, 0)


RNG = np.random.default_rng(0)
WON = RNG.random(GOALS) < 0.6
LESS = WON & (RNG.random(GOALS) < 0.7)


@pytest.mark.slow
def test_the_plans_outcomes_follow_from_who_succeeds() -> None:
    better, tie = judge([a_study("short", WON, LESS, WON)]), judge([a_study("control", WON, WON, WON)])
    assert [(one.asked, one.outcome) for one in better] == [
        ("difference", "beats"),
        ("no loss", "keeps"),
        ("difference", "not shown"),  # the steered gate does what the trained one does
        ("difference", "beats"),
    ]
    assert [(one.asked, one.outcome) for one in tie[:2]] == [("tie", "a tie"), ("tie", "a tie")]
    worse = judge([a_study("short", LESS, WON, WON)])
    assert [one.outcome for one in worse] == ["worse", "not shown", "not shown", "worse"]
    assert [one.outcome for one in judge([a_study("control", LESS, WON, WON)])][:2] == ["not shown", "not shown"]


@pytest.mark.slow
def test_the_steered_gate_is_judged_against_the_trained_one_and_query_rag_on_every_kind_of_page() -> None:
    for pages in ("short", "control"):
        *_, against_gate, against_rag = judge([a_study(pages, LESS, WON, WON, steered=WON)])
        assert (against_gate.candidate, against_gate.baseline, against_gate.outcome) == (STEERED_GATE, GATE, "beats")
        assert (against_rag.candidate, against_rag.baseline, against_rag.outcome) == (STEERED_GATE, RAG, "not shown")


def test_all_comparisons_of_a_study_are_one_family() -> None:
    alone, beside = (
        judge(studies)[0]
        for studies in (
            [a_study("short", WON, LESS, WON)],
            [a_study("short", WON, LESS, WON), a_study("control", LESS, WON, WON)],
        )
    )
    assert alone.p_value == beside.p_value
    assert beside.adjusted_p_value == pytest.approx(2 * alone.adjusted_p_value)


@pytest.mark.slow
def test_the_report_holds_the_plan_its_outcomes_and_a_frontier(tmp_path: Path) -> None:
    studies = [a_study("short", WON, LESS, WON), a_study("control", WON, WON, WON)]
    planned = judge(studies)
    views = [
        f"{actor}, {view}" for actor in ("student", "lexical") for view in ("full page", "query RAG", "trained gate")
    ]
    actors = ActorsStudy({name: [episodes(LESS, 500)] for name in (*views, *WHOLE_PAGE_RULES)}, 0)
    sections = study_sections(tmp_path, studies, planned, actors)
    assert [len(section.figures) for section in sections] == [0, 1, 1, 0]
    assert len(planned_table(planned).rows) == 8
    results = study_results(studies, planned)
    assert results["pages"]["short"]["k"][RAG] == 4
    assert {one["outcome"] for one in results["planned"]} == {"beats", "keeps", "a tie", "not shown"}


def test_a_study_needs_made_up_short_pages_and_a_rule() -> None:
    assert Phase2Settings().has_study
    assert not Phase2Settings(study="alone").has_study
    assert not Phase2Settings(pages="control").has_study
    assert not Phase2Settings(actor="student").has_study
    assert not Phase2Settings(goals="synthetic").has_study
    full = Phase2Settings(study="full", training_goals=60)
    assert short_settings(full).injections > 0
    assert short_settings(Phase2Settings()).injections == 0
    long = long_settings(full)
    assert (long.pages, long.training_goals, long.chunking.max_characters) == ("long", 60, 300)


def test_long_pages_are_for_made_up_products_and_for_actors_that_can_read_them() -> None:
    with pytest.raises(ValidationError, match="--pages long are made up"):
        Phase2Settings(pages="long", goals="synthetic")
    with pytest.raises(ValidationError, match="do not fit into the packaged student's context"):
        Phase2Settings(pages="long", actor="student")
    world = open_world(Phase2Settings(pages="long", generated_products=100, test_goals=5))
    assert world.shop.page_size == 50


def test_fresh_goals_are_those_of_another_catalogue() -> None:
    settings = Phase2Settings(generated_products=100, fresh_goals=30)
    ours, fresh, control = (
        open_world(settings),
        open_fresh_world(settings, "short"),
        open_fresh_world(settings, "control"),
    )
    assert ours.shop.catalogue != fresh.shop.catalogue
    assert len(fresh.splits["test"]) == 30
    assert 0 < len(control.splits["test"]) <= 30
    assert all(needs_no_choice(control.shop, goal) for goal in control.splits["test"])
