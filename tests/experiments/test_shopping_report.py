"""Phase 2's report from hand-made episodes, without any training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from experiments.shopping.agents import STEERED, TRAINED
from experiments.shopping.findings import Findings, results
from experiments.shopping.ranking import CUTOFFS, RetrievalScores
from experiments.shopping.report import write_report
from experiments.shopping.stages import Stage
from lab.main import conclude
from lab.run import RunDirectory
from sightline.agents import Step, Trajectory, write_trajectories
from sightline.agents.chat import TokenPrices
from sightline.agents.evaluation import detectable_difference
from sightline.agents.records import Attention
from sightline.agents.state import NextActionMetrics

OTHERS = ("baseline_react", "baseline_rag", "oracle_gated")
PAGE = "[button] Next > [button_]\n\n[button] B0AAAAAAAA [button_]\na <b>red</b> lamp\n\n[button] Buy Now [button_]"


def episode(goal: int, agent: str, *, success: bool) -> Trajectory:
    step = Step(
        observation=PAGE,
        available_actions=("click[next >]", "click[b0aaaaaaaa]", "click[buy now]"),
        action="click[buy now]",
        expert_action="click[buy now]" if success else "click[b0aaaaaaaa]",
        reward=float(success),
        attention=(Attention(PAGE.split("\n\n")[2], 0.5, selected=True),),
        prompt_tokens=100,
        completion_tokens=3,
    )
    return Trajectory(
        episode_id=f"{agent}-{goal}",
        goal=goal,
        agent=agent,
        seed=0,
        instruction="a red lamp",
        steps=(step,),
        final_observation="",
        total_reward=step.reward,
        terminated=True,
        truncated=False,
    )


def report(folder: Path, rates: dict[str, float], rules: dict[str, float] | None = None) -> tuple[str, dict]:
    run = RunDirectory(folder, {})
    episodes = {}
    printed = {
        name: [[episode(goal, name, success=goal < 60 * rate) for goal in range(60)]]
        for name, rate in (rules or {}).items()
    }
    for name, rate in rates.items():
        episodes[name] = [[episode(goal, name, success=goal < 60 * rate) for goal in range(60)]]
        run.stage(Stage.AGENT, lambda path, n=name: write_trajectories(path / "episodes.jsonl", episodes[n][0]), name)
    metrics = dict.fromkeys(NextActionMetrics.__dataclass_fields__, 1)
    scores = RetrievalScores(
        recall={k: np.linspace(0, 1, 60) for k in CUTOFFS},
        reciprocal_rank=np.linspace(0, 1, 60),
        ndcg=np.linspace(0, 1, 60),
    )
    retrieval = {"query_rag": scores, "state_gated_trained": scores}
    prices = TokenPrices(prompt=1.0, completion=2.0)
    findings = Findings([NextActionMetrics(**metrics)], retrieval, episodes, {}, 0, prices=prices, rules=printed)
    conclude(run, results(findings), write_report(run, findings), shown=[])
    return (folder / "report.html").read_text(), json.loads((folder / "results.json").read_text())


def test_the_page_opens_with_the_claim_and_shows_what_a_failed_agent_missed(tmp_path: Path) -> None:
    page, found = report(tmp_path, {TRAINED: 0.8, **dict.fromkeys(OTHERS, 0.5)})
    claim = page.index("recurrent_state_gated_trained beats baseline_rag: on 60 paired goals")
    assert claim < page.index("<h2>")
    assert found["comparisons"][0]["wins"] == 18
    assert "Goal 48: never opened the right product; needed chunk not read" in page
    assert "a &lt;b&gt;red&lt;/b&gt; lamp" in page
    assert "<b>" not in page
    for name in (TRAINED, *OTHERS):
        assert (tmp_path / "stages" / f"7-agent-{name}" / "episodes.jsonl").is_file()
        assert f'href="stages/7-agent-{name}/episodes.jsonl"' in page
    assert f"serve --trajectories stages/7-agent-{TRAINED}" in page


def test_the_steered_gate_is_compared_with_the_trained_one_and_query_rag_in_the_same_family(tmp_path: Path) -> None:
    page, found = report(tmp_path, {TRAINED: 0.8, **dict.fromkeys(OTHERS, 0.5), STEERED: 0.6})
    pairs = [(each["candidate"], each["baseline"]) for each in found["comparisons"]]
    assert pairs == [*((TRAINED, other) for other in OTHERS), (STEERED, TRAINED), (STEERED, "baseline_rag")]
    assert {each["tests"] for each in found["comparisons"]} == {2 * len(pairs)}
    assert [each["success_rate"]["value"] for each in found["comparisons"][-2:]] == [-0.2, 0.1]
    assert found["claims"][2].startswith(f"{STEERED} is worse than {TRAINED}: on 60 paired goals")
    assert f"{STEERED} - baseline_rag" in page
    assert found["detectable_difference"].keys() == {"baseline_rag", "baseline_react"}


def test_agents_that_never_fail_or_never_succeed_still_make_a_page(tmp_path: Path) -> None:
    page, found = report(tmp_path, {TRAINED: 1.0, "baseline_rag": 1.0, "baseline_react": 0.0})
    assert "all failures" in page
    assert found["failures"] == []
    assert found["tokens_per_success"]["baseline_react"] is None
    assert found["detectable_difference"] == {"baseline_react": detectable_difference(60, 1.0, tests=4)}


def test_an_actor_that_shops_worse_than_a_printed_rule_earns_gating_no_verdict(tmp_path: Path) -> None:
    rates = {TRAINED: 0.8, **dict.fromkeys(OTHERS, 0.5)}
    page, found = report(tmp_path / "worse", rates, {"rule_full_page": 0.6, "first_hit_full_page": 0.4})
    (claim,) = found["claims"]
    assert claim.startswith("No verdict on gating: with whole pages the actor succeeds in 50.0% of the goals and rule")
    assert "beats" not in page[: page.index("<h2>")]
    assert [row["agent"] for row in found["agents"]][-2:] == ["rule_full_page", "first_hit_full_page"]
    _, found = report(tmp_path / "as good", rates, {"rule_full_page": 0.51})
    assert "beats baseline_rag" in found["claims"][0]


def test_what_was_best_is_counted_for_agents_and_rules_by_kind_of_page(tmp_path: Path) -> None:
    page, found = report(tmp_path, {TRAINED: 0.8, **dict.fromkeys(OTHERS, 0.5)}, {"first_hit_full_page": 0.3})
    agreement = found["agreement_by_page"]
    assert agreement["first_hit_full_page"]["product"]["interval"]["value"] == 0.3
    assert agreement[TRAINED]["product"]["interval"]["value"] == 0.8
    assert agreement[TRAINED]["product"]["decisions"] == 60
    assert "product pages: agreement %" in page
