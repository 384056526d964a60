from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from sightline.teachability import Labeller, LabelSettings, Task, ValueGraph, collect_episodes, mine_failures
from sightline.teachability.errors import PolicyError
from sightline.teachability.records import LabelledSnapshot, Refusal


def scene(worlds, seed=8, pull=2.0):
    world, policy = worlds.random_world(seed)
    policy.pull = pull

    def best(state):
        return max(world.actions(state), key=lambda a: worlds.true_action_value(world, policy, state, a))

    tasks = [Task(number, f"group {number}", worlds.Place(0)) for number in range(12)]
    episodes = collect_episodes(world, policy, tasks, seed=0, rollouts=range(4))
    return world, policy, worlds.TableTeacher(best), episodes, mine_failures(episodes, "uniform")


def test_a_labelled_snapshot_has_every_part_and_each_agrees_with_recursion(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)
    found: Any = Labeller(world, policy, teacher, settings=LabelSettings(tolerance=0.0, max_prompts=400)).label(
        snapshots, episodes
    )
    assert len(found) == len(snapshots) > 3
    for one in found:
        assert one.error is None
        state = world.decode(one.snapshot.state_bytes)
        assert one.values.V.estimate == pytest.approx(worlds.true_value(world, policy, state), abs=1e-9)
        assert one.values.Q_teacher.estimate == pytest.approx(
            worlds.true_action_value(world, policy, state, one.hint.action), abs=1e-9
        )
        assert one.values.L_local.low >= -1e-9  # the teacher takes the best action
        assert one.grade in ("improves", "neutral")
        assert one.uncertainty.pi_teacher == one.uncertainty.probabilities[one.snapshot.actions.index(one.hint.action)]
        assert one.depth is not None
        assert one.first_order is not None
        assert one.patches is not None
        assert LabelledSnapshot.model_validate_json(one.model_dump_json()) == one


def test_snapshots_keep_their_order_whatever_tasks_they_are_of(worlds):
    world, policy, teacher, _, snapshots = scene(worlds)
    mixed = [*snapshots[::2], *snapshots[1::2]]
    assert [one.task for one in mixed] != sorted(one.task for one in mixed)
    found = Labeller(world, policy, teacher, settings=LabelSettings(patches=False)).label(mixed)
    assert [one.snapshot.id for one in found] == [one.id for one in mixed]


def test_a_snapshot_without_a_step_left_is_an_error_row(worlds):
    world, policy, teacher, _, snapshots = scene(worlds)
    over, last = (
        snapshots[0].model_copy(update={"state": base64.b64encode(world.encode(worlds.Place(0, steps))).decode()})
        for steps in (world.horizon, world.horizon - 1)
    )
    found = Labeller(world, policy, teacher).advise([over, last])
    assert [one.error for one in found] == ["nothing can be done in this state", None]
    assert found[0].hint is None


def test_depth_is_what_walking_back_through_the_episode_finds(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)
    labeller = Labeller(world, policy, teacher, settings=LabelSettings(tolerance=0.0, max_prompts=400, patches=False))
    by_id = {episode.id: episode for episode in episodes}
    found: Any = labeller.label(snapshots, episodes)
    for one in found:
        path = [world.decode(step.state_bytes) for step in by_id[one.snapshot.trajectory_id].steps][
            : one.snapshot.step + 1
        ]
        likely = [worlds.true_action_value(world, policy, state, teacher.choose(state)) >= 0.5 for state in path]
        back = next((i for i, good in enumerate(reversed(likely)) if good), None)
        expected = ("censored", len(path)) if back is None else ("observed", back)
        assert (one.depth.force.status, one.depth.force.steps) == expected


def test_labels_of_a_task_do_not_depend_on_what_is_labelled_beside_it(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)
    labeller = Labeller(world, policy, teacher)
    hinted = labeller.advise(snapshots)
    together = labeller.measure(hinted, episodes, pool=hinted)
    for task in {one.snapshot.task for one in hinted}:
        part = [one for one in hinted if one.snapshot.task == task]
        alone = labeller.measure(part, episodes, pool=hinted)
        assert alone == [one for one in together if one.snapshot.task == task]


def test_an_audit_measures_pairs_and_gains_at_every_step(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)
    audited = snapshots[0].id
    found: Any = Labeller(world, policy, teacher).label(snapshots, episodes, audit=[audited])
    for one in found:
        thorough = one.snapshot.id == audited
        assert (one.values.pairs is not None and one.values.pairs.pairs == 64) == thorough
        whole = next(e.gain_all for e in one.patches.effects if e.kind == "demo" and e.paraphrase == 0)
        assert (whole is not None) == thorough


def test_the_gain_at_every_step_is_the_difference_of_two_patched_values(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)
    settings = LabelSettings(tolerance=0.0, max_prompts=400)
    found: Any = Labeller(world, policy, teacher, settings=settings).label(
        snapshots[:1], episodes, audit=[snapshots[0].id]
    )
    one = found[0]
    from sightline.teachability.labels.patches import Moment, avoided, render_all

    moment = Moment(one.snapshot, one.hint, avoided(one.snapshot, one.hint, np.array(one.uncertainty.probabilities)))
    texts = render_all(moment, None, settings.templates)
    state = world.decode(one.snapshot.state_bytes)
    values = [worlds.true_value(world, policy, state, patch=texts[kind, 0]) for kind in ("demo", "placebo")]
    effect = next(e for e in one.patches.effects if (e.kind, e.paraphrase) == ("demo", 0))
    assert effect.gain_all.estimate == pytest.approx(values[0] - values[1], abs=1e-9)


def test_a_refusal_leaves_uncertainty_and_nothing_else(worlds):
    world, policy, _, episodes, snapshots = scene(worlds)
    found: Any = Labeller(world, policy, worlds.TableTeacher(lambda state: None)).label(snapshots, episodes)
    assert all(isinstance(one.hint, Refusal) and one.values is None and one.uncertainty for one in found)


def test_a_teacher_that_names_no_candidate_is_asked_once_more_and_then_refused(worlds):
    world, policy, _, _, snapshots = scene(worlds)
    nonces: list[int] = []

    class Stubborn(worlds.TableTeacher):
        def advise(self, views, states, *, nonce=0):
            nonces.append(nonce)
            return super().advise(views, states, nonce=nonce)

    labeller = Labeller(world, policy, Stubborn(lambda state: "fly"))
    found: Any = labeller.advise(snapshots)
    assert all("named 'fly'" in one.hint.reason for one in found)
    assert nonces == [0, 1]
    assert labeller.ledger.teacher_calls == 2 * len(snapshots)


def test_an_environment_that_raises_makes_an_error_row(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)
    broken = snapshots[0]

    class Breaking(type(world)):
        def step(self, state, action):
            if state.node == world.decode(broken.state_bytes).node:
                raise OSError("gone")
            return super().step(state, action)

    failing = Breaking(world.table, world.horizon, world.rewards)
    found: Any = Labeller(failing, policy, teacher, settings=LabelSettings(depth=False)).label(snapshots, episodes)
    assert found[0].error is not None
    assert "gone" in found[0].error
    assert found[0].values is None


def test_a_policy_that_answers_nonsense_is_refused_by_snapshot(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)

    class Broken(worlds.TablePolicy):
        def distributions(self, views, patches=None):
            return [np.full(len(view.actions), np.nan) for view in views]

    with pytest.raises(PolicyError, match=f"snapshot {snapshots[0].id}"):
        Labeller(world, Broken(policy.logits), teacher).label(snapshots, episodes)


def test_a_teacher_that_cannot_take_over_leaves_the_upper_leverage_open(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)

    class Adviser(worlds.TableTeacher):
        def act(self, states):
            raise NotImplementedError

    one: Any = Labeller(world, policy, Adviser(teacher.choose)).label(snapshots[:1], episodes)[0]
    assert one.values.V_expert is None
    assert one.values.L_upper is None
    assert one.depth.expert is None
    assert one.values.L_local is not None


def test_costs_are_counted(worlds):
    world, policy, teacher, episodes, snapshots = scene(worlds)
    choices = {node: teacher.choose(worlds.Place(node)) for node in world.table}
    labeller = Labeller(world, policy, worlds.TableTeacher(lambda state: choices[state.node]))
    before = policy.asked
    labeller.label(snapshots, episodes)
    assert labeller.ledger.prompts == policy.asked - before
    assert isinstance(ValueGraph(world, policy).ledger.cost().prompts, int)
