from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.teachability.records import Snapshot, TeacherHint
from sightline.teachability.training.examples import replay_pool
from sightline.teachability.training.matrix import Workshop, plan_matrix, run_matrix, trainable
from sightline.teachability.training.micro import MicroSettings, MicroTrainer, find_siblings
from sightline.teachability.training.recovery import choose_recoveries, recover, recovery_steps
from sightline.teachability.training_records import LearnerConfig


def crowd(scene, sizes):
    """Copies of a labelled snapshot with made-up ids and quadrants."""
    base = next(one for one in scene.labelled if one.values)
    rows = []
    for quadrant, size in sizes.items():
        for _ in range(size):
            number = f"{len(rows):016x}"
            snapshot = base.snapshot.model_copy(update={"id": number, "group": f"group {len(rows) % 50}"})
            rows.append(base.model_copy(update={"snapshot": snapshot, "quadrant": quadrant, "grade": "neutral"}))
    return rows


def test_all_cells_learn_from_equally_many_and_small_quadrants_are_reported_empty(scene):
    rows = crowd(scene, {"Q1": 60, "Q2": 45, "Q3": 12, "Q4": 80, "undecided": 9})
    plans = plan_matrix(rows, seeds=[0, 1])
    assert len(plans) == 2 * (12 + 2)
    by_id = {plan.run_id: plan for plan in plans}
    assert {len(p.snapshot_ids) for p in plans if p.quadrant in ("Q1", "Q2", "Q4")} == {45}
    assert by_id["Q3_demo_s0"].empty == "12 snapshots, fewer than 40"
    assert len(by_id["B1_uniform_s0"].snapshot_ids) == 45
    assert len(by_id["B2_all_s1"].snapshot_ids) == 60 + 45 + 12 + 80
    assert by_id["Q1_demo_s0"].snapshot_ids == by_id["Q1_hint_s0"].snapshot_ids != by_id["Q1_demo_s1"].snapshot_ids
    quadrant_of = {row.snapshot.id: row.quadrant for row in rows}
    assert all({quadrant_of[i] for i in p.snapshot_ids} <= {p.quadrant} for p in plans if p.quadrant)


def test_harmful_refused_and_foreign_splits_are_not_trained_on(scene):
    rows = crowd(scene, {"Q1": 4})
    rows[0] = rows[0].model_copy(update={"grade": "harmful"})
    rows[1] = rows[1].model_copy(update={"split": "panel"})
    rows[2] = rows[2].model_copy(update={"grade": "improves"})
    assert [one.snapshot.id for one in trainable(rows)] == [rows[2].snapshot.id, rows[3].snapshot.id]
    assert trainable(rows, improving_only=True) == [rows[2]]


def test_runs_train_are_written_and_leave_the_base_alone(scene, tmp_path):
    rows = [one.model_copy(update={"quadrant": "Q1"}) for one in scene.labelled if one.values]
    plans = plan_matrix(rows, seeds=[0], smallest=2, formats=("demo", "contrast"))
    looked_at = []
    workshop = Workshop(scene.builder, scene.learner, replay_pool(scene.episodes), audit=looked_at.append)
    done = list(run_matrix(plans, rows, workshop, tmp_path))
    assert [record.plan.run_id for record, _ in done] == ["Q1_demo_s0", "Q1_contrast_s0", "B1_uniform_s0", "B2_all_s0"]
    scene.learner.slot.check_base()
    for (record, fitted), examples in zip(done, looked_at, strict=True):
        assert (tmp_path / record.folder / "adapter_model.safetensors").exists()
        corrected = {e.group for e in examples if e.source == "correction"}
        assert not corrected & {e.group for e in examples if e.source == "replay"}
        view = scene.world.view(scene.world.decode(rows[0].snapshot.state_bytes))
        read = scene.learner.load(tmp_path / record.folder, "read").distributions([view])[0]
        assert read == pytest.approx(fitted.policy.distributions([view])[0], abs=1e-5)


def test_micro_rows_hold_what_asking_before_and_after_gives(scene):
    one = next(one for one in scene.labelled if one.values)
    kept = replay_pool(scene.episodes)[:3]
    config = scene.learner.config
    settings = MicroSettings(learning_rates=(1e-3,), seeds=(0,), steps=2, formats=("demo",))
    trainer = MicroTrainer(
        scene.world, scene.builder, scene.learner, config, scene.learner.base, retention=kept, settings=settings
    )
    (row,) = trainer.measure(one, scene.labelled)
    tiny = config.model_copy(update={"learning_rate": 1e-3, "epochs": 2, "batch_size": 1})
    fitted = scene.learner.fit(scene.builder.corrections([one], ["demo"]), seed=0, config=tiny)
    view = scene.world.view(scene.world.decode(one.snapshot.state_bytes))
    before, after = (p.distributions([view])[0] for p in (scene.learner.base, fitted.policy))
    target = view.actions.index(one.hint.action)
    assert row.log_probability == pytest.approx(np.log(after[target] / before[target]), abs=1e-4)
    assert row.log_probability > 0
    gain = sum((a - b) * q.estimate for a, b, q in zip(after, before, one.values.Q, strict=True))
    assert row.first_step_gain == pytest.approx(gain, abs=1e-5)
    divergences = []
    for snapshot in kept:
        at = scene.world.view(scene.world.decode(snapshot.state_bytes))
        p, q = (policy.distributions([at])[0] for policy in (scene.learner.base, fitted.policy))
        divergences.append(float((p * np.log(p / q)).sum()))
    assert row.retention == pytest.approx(np.mean(divergences), abs=1e-5)
    assert row.elp == one.patches.elp.estimate


def test_siblings_share_the_mistake_and_not_the_group(scene):
    rows = crowd(scene, {"Q1": 60})
    rows[5] = rows[5].model_copy(update={"hint": rows[5].hint.model_copy(update={"error_type": "planning_error"})})
    found = find_siblings(rows[0], rows, 8)
    assert len(found) == 8
    assert all(other.snapshot.group != rows[0].snapshot.group for other in found)
    assert rows[5].snapshot.id not in {other.snapshot.id for other in found}


def test_recoveries_are_what_the_teacher_does_from_there_and_failures_are_not_learnt(scene, worlds):
    chosen: Any = choose_recoveries(scene.labelled, limit=3)
    uppers = [one.values.L_upper.low for one in chosen]
    assert uppers == sorted(uppers, reverse=True)
    found = recover(scene.world, scene.teacher, chosen)
    for one, recovery in zip(chosen, found, strict=True):
        state = scene.world.decode(one.snapshot.state_bytes)
        for step in recovery.steps:
            assert step.action == scene.teacher.choose(state)
            end = scene.world.step(state, step.action)
            assert step.done == end.ended
            state = end.state
        assert recovery.success == (recovery.total_reward == 1.0)
    failed = found[0].model_copy(update={"success": False})
    assert recovery_steps([failed]) == []
    steps = recovery_steps([failed, *found[1:]], failures=True, limit=2)
    assert len(steps) == 2
    assert all(isinstance(snapshot, Snapshot) for snapshot, _ in steps)
    examples = scene.builder.recoveries(recovery_steps(found))
    assert {example.source for example in examples} == {"recovery"}
    assert len(examples) == sum(len(recovery.steps) for recovery in found if recovery.success)


def test_recoveries_keep_to_the_label_split_and_the_wanted_quadrants(scene):
    rows = crowd(scene, {"Q1": 3, "Q3": 3})
    rows[0] = rows[0].model_copy(update={"split": "test"})
    assert {one.snapshot.id for one in choose_recoveries(rows, quadrants=["Q1"])} == {r.snapshot.id for r in rows[1:3]}
    random = choose_recoveries(rows, order="random", seed=1)
    assert random == choose_recoveries(rows, order="random", seed=1)
    assert len(random) == 5
    assert choose_recoveries(rows, least=2.0) == []


def test_a_run_is_made_of_corrections_and_as_many_replays(scene):
    seen = []
    workshop = Workshop(
        scene.builder, scene.learner, replay_pool(scene.episodes) * 1, replay_share=1.0, audit=seen.append
    )
    one = next(one for one in scene.labelled if isinstance(one.hint, TeacherHint))
    workshop.train(scene.builder.corrections([one], ["demo"]), seed=0, config=LearnerConfig(epochs=1, temperature=2.0))
    assert sorted(example.source for example in seen[0]) == ["correction", "replay"]
