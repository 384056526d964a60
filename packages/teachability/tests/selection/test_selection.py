from __future__ import annotations

import numpy as np
import pytest

from sightline.teachability.errors import ArmError
from sightline.teachability.predictor.ranking import top_k_overlap
from sightline.teachability.selection import (
    ARMS,
    check_arms,
    compare_arms,
    given_scores,
    gradient_alignment,
    label_cost,
    plan_selection,
    run_selection,
    select,
)
from sightline.teachability.training.examples import replay_pool
from sightline.teachability.training.matrix import Workshop
from sightline.teachability.training.policy import plain_scores


def pool(scene, size=60):
    """Snapshots that differ in entropy, payoff and leverage, at random."""
    base = next(one for one in scene.labelled if one.values and one.patches)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(size):
        u, elp, lead, s1, taken = generator.random(5).tolist()

        def bound(like, value):
            return like.model_copy(update={"low": value, "high": value, "estimate": value})

        rows.append(
            base.model_copy(
                update={
                    "snapshot": base.snapshot.model_copy(update={"id": f"{number:016x}", "group": f"g{number}"}),
                    "uncertainty": base.uncertainty.model_copy(update={"entropy_normalised": u}),
                    "patches": base.patches.model_copy(update={"elp": bound(base.patches.elp, elp)}),
                    "values": base.values.model_copy(
                        update={
                            "L_local": bound(base.values.L_local, lead),
                            "L_taken": bound(base.values.L_taken, -taken),
                        }
                    ),
                    "first_order": base.first_order.model_copy(update={"logit": s1}),
                }
            )
        )
    return rows


@pytest.mark.parametrize("name", ["entropy", "oracle", "leverage", "s1", "first_error"])
def test_an_arm_chooses_the_highest_of_its_own_measure(scene, name):
    rows = pool(scene)
    measure = {
        "entropy": lambda one: one.uncertainty.entropy_normalised,
        "oracle": lambda one: one.patches.elp.estimate,
        "leverage": lambda one: one.values.L_local.estimate,
        "s1": lambda one: one.first_order.logit,
        "first_error": lambda one: -one.values.L_taken.estimate,
    }[name]
    chosen = select(name, rows, 10, scores=ARMS[name], seed=0)
    assert {one.snapshot.id for one in chosen} == {
        one.snapshot.id for one in sorted(rows, key=measure, reverse=True)[:10]
    }


def test_an_arm_that_lacks_what_it_needs_never_falls_back(scene):
    rows = pool(scene)
    rows[3] = rows[3].model_copy(update={"patches": None})
    with pytest.raises(ArmError, match="'oracle' cannot score 1 of 60"):
        select("oracle", rows, 10, scores=ARMS["oracle"], seed=0)
    with pytest.raises(ArmError, match="'predictor' cannot score 60 of 60"):
        select("predictor", rows, 10, scores=given_scores({}), seed=0)


def test_arms_that_choose_the_same_stop_the_experiment(scene):
    rows = pool(scene)
    arms = {"entropy": ARMS["entropy"], "twin": ARMS["entropy"]}
    with pytest.raises(ArmError, match="'entropy' and 'twin' chose nearly the same \\(100%"):
        plan_selection(rows, arms, budgets={"entropy": 10, "twin": 10}, seeds=[0])
    plan_selection(rows, arms, budgets={"entropy": 10, "twin": 20}, seeds=[0])  # another budget is another question
    assert check_arms({"a": ["1", "2"], "b": ["2", "3"]}) == {"a ~ b": pytest.approx(1 / 3)}


def test_chance_draws_other_snapshots_for_every_seed_and_the_same_for_equal_seeds(scene):
    rows = pool(scene)
    first, again, other = (
        {one.snapshot.id for one in select("random", rows, 20, scores=ARMS["random"], seed=seed)} for seed in (0, 0, 1)
    )
    assert first == again != other


def test_plans_know_what_they_chose_and_runs_train_it(scene):
    rows = pool(scene, 12)
    arms = {name: ARMS[name] for name in ("random", "entropy", "oracle")}
    plans = plan_selection(rows, arms, budgets=dict.fromkeys(arms, 4), seeds=[0])
    by_id = {one.snapshot.id: one for one in rows}
    for plan in plans:
        elps = [by_id[name].patches.elp.estimate for name in plan.snapshot_ids]
        assert plan.elp_mean == pytest.approx(np.mean(elps))
    learnt = []
    workshop = Workshop(scene.builder, scene.learner, replay_pool(scene.episodes), audit=learnt.append)
    runs = [run for run, _ in run_selection(plans[:2], rows, workshop)]
    for plan, run, examples in zip(plans[:2], runs, learnt, strict=True):
        assert run.report.examples["correction"] == 4
        assert {e.snapshot_id for e in examples if e.source == "correction"} == set(plan.snapshot_ids)


def test_what_has_to_be_measured_first_costs_and_buys_more_examples():
    options = {"candidates": 300, "epochs": 2, "value_prompts": 30_000, "patch_prompts": 3_600}
    costs = {arm: label_cost(arm, **options) for arm in ("random", "entropy", "s1", "oracle", "predictor", "less")}
    prompts = [costs[arm].prompts for arm in ("random", "entropy", "less", "s1", "oracle")]
    assert prompts == sorted(prompts)
    assert costs["random"].extra_examples == 0
    assert costs["entropy"].extra_examples == 300 // 6
    assert costs["predictor"].prompts == costs["oracle"].prompts
    with pytest.raises(ValueError, match="no known cost"):
        label_cost("astrology", **options)


def test_no_lead_is_found_where_there_is_none_and_a_planted_order_is(mean_test):
    generator = np.random.default_rng(0)
    groups = [f"g{i // 2}" for i in range(120)]
    false = 0
    for replication in range(400):
        chance = generator.random(120)
        arms = {name: (generator.random((3, 120)) < chance).mean(0) for name in "abcd"}
        leads = compare_arms(arms, groups, rival="a", test=mean_test, seed=replication)
        false += any(lead.p_holm < 0.05 for lead in leads)
    assert false <= 0.05 * 400 + 9  # two standard errors above 5 %
    planted = {
        name: (generator.random((3, 400)) < 0.3 + gain).mean(0)
        for name, gain in {"random": 0.0, "entropy": 0.1, "predictor": 0.2, "oracle": 0.3}.items()
    }
    leads = compare_arms(planted, [str(i) for i in range(400)], rival="random", test=mean_test)
    deltas = {lead.method: lead.delta for lead in leads}
    assert sorted(deltas, key=deltas.__getitem__) == ["entropy", "predictor", "oracle"]
    assert all(lead.p_holm < 0.05 and lead.low > 0 for lead in leads)


def test_gradients_of_examples_like_the_panel_point_where_the_panels_do(scene, toy_examples):
    alike = [example for example in toy_examples if example.chosen == 1]
    others = [example for example in toy_examples if example.chosen == 2]
    scores = gradient_alignment(scene.learner, [*alike[2:], *others], alike[:2], seed=0)
    assert scores.shape == (len(alike) - 2 + len(others),)
    assert np.abs(scores).max() <= 1 + 1e-9
    assert scores[: len(alike) - 2].min() > scores[len(alike) - 2 :].max()
    truth = np.array([1.0] * (len(alike) - 2) + [0.0] * len(others))
    assert top_k_overlap(scores, truth, len(alike) - 2) == 1.0
    scene.learner.slot.check_base()


def test_examples_that_would_change_nothing_are_aligned_with_nothing(scene, toy_examples):
    def constant(model, batch):
        return [0.0 * scores for scores in plain_scores(model, batch)]

    scores = gradient_alignment(scene.learner, toy_examples[:2], toy_examples[2:4], seed=0, score=constant)
    assert scores.tolist() == [0.0, 0.0]
