from __future__ import annotations

import numpy as np
import pytest

from sightline.teachability import ValueGraph
from sightline.teachability.labels.patches import KINDS, Moment, avoided, cross_fit, measure_patches, render_all, weigh
from sightline.teachability.records import PATCH_FORMATS, Bound, TeacherHint
from sightline.teachability.supervision import PatchTemplates
from sightline.teachability.views import StateView


def exact(number: float) -> Bound:
    return Bound(low=number, high=number, estimate=number, method="graph")


TEXTS = {(kind, paraphrase): f"{kind} {paraphrase}" for kind in KINDS for paraphrase in (0, 1)}
VIEW = StateView("go", "node 0", ("a0", "a1", "a2"))


class ScriptedPolicy:
    name = fingerprint = "scripted"

    def __init__(self, answer):
        self.answer = answer

    def distributions(self, views, patches=None):
        return [np.asarray(self.answer(patch)) for patch in patches or [None] * len(views)]


def test_patches_that_change_nothing_gain_exactly_nothing():
    found = measure_patches(
        ScriptedPolicy(lambda _: [0.2, 0.3, 0.5]), VIEW, [exact(0.1), exact(0.9), exact(0.3)], TEXTS
    )
    assert {effect.gain0.estimate for effect in found.effects} == {0.0}
    assert {effect.gain0.low for effect in found.effects} == {0.0}
    assert found.elp.estimate == 0.0


def test_the_gain_of_a_patch_at_one_step_is_what_playing_out_every_action_gives(worlds):
    for seed in range(20):
        world, policy = worlds.random_world(seed)
        policy.pull = 1.5
        root = worlds.Place(0)
        view = world.view(root)
        texts = {key: f"{text} [{view.actions[len(text) % len(view.actions)]}]" for key, text in TEXTS.items()}
        graph = ValueGraph(world, policy, tolerance=0.0, max_prompts=500)
        found = measure_patches(policy, view, list(graph.action_values(root).values()), texts)
        # The value of a policy that reads the text in the first state and acts as usual after it.
        q = {a: worlds.true_action_value(world, policy, root, a) for a in view.actions}
        for effect in found.effects:
            values = []
            for kind in (effect.kind, "placebo"):
                pi = policy.distributions([view], [texts[kind, effect.paraphrase]])[0]
                values.append(sum(p * q[a] for p, a in zip(pi, view.actions, strict=True)))
            assert effect.gain0.estimate == pytest.approx(values[0] - values[1], abs=1e-9)


def test_the_payoff_of_patches_without_effect_is_nothing_on_average_and_the_best_of_three_is_not():
    generator = np.random.default_rng(0)
    cross, largest = [], []
    for _ in range(3000):
        # What two rollouts of success chance 1/2 say about patches that do nothing.
        gains = {
            f: [exact(x) for x in generator.binomial(2, 0.5, 2) / 2 - generator.binomial(2, 0.5, 2) / 2]
            for f in PATCH_FORMATS
        }
        cross.append(cross_fit(gains)[0].estimate)
        largest.append(max(gains[f][0].estimate for f in PATCH_FORMATS))
    assert np.mean(largest) > 0.1
    assert abs(np.mean(cross)) < 0.01 + 3 * np.std(cross) / np.sqrt(3000)


def test_a_population_of_random_shifts_has_no_payoff():
    generator = np.random.default_rng(1)
    found = []
    for _ in range(600):
        answers = {text: generator.dirichlet([5, 5, 5]) for text in TEXTS.values()}
        q = [exact(x) for x in generator.random(3)]
        found.append(measure_patches(ScriptedPolicy(answers.__getitem__), VIEW, q, TEXTS).elp.estimate)
    assert abs(np.mean(found)) < 0.01


def test_a_format_that_helps_is_the_route_and_its_payoff_is_its_gain():
    shift = {"demo": [0.1, 0.8, 0.1], "contrast": [0.1, 0.6, 0.3]}
    policy = ScriptedPolicy(lambda patch: shift.get(patch.split()[0], [0.3, 0.4, 0.3]))
    found = measure_patches(policy, VIEW, [exact(0.0), exact(1.0), exact(0.0)], TEXTS)
    assert (found.route, found.routes) == ("demo", ("demo", "demo"))
    assert found.elp.estimate == pytest.approx(0.4)


def test_weighing_bounds_is_interval_arithmetic():
    wide = [
        Bound(low=0.1, high=0.4, estimate=0.2, method="graph"),
        Bound(low=0.0, high=1.0, estimate=0.5, method="mixed"),
    ]
    found = weigh(np.array([2.0, -1.0]), wide)
    assert (found.low, found.high, found.method) == (pytest.approx(-0.8), pytest.approx(0.8), "mixed")


def test_a_contrast_warns_of_what_was_taken_or_of_the_likeliest_other_action(worlds):
    from sightline.teachability import Task, collect_episodes, mine_failures

    world = worlds.MapWorld({0: {"a": worlds.LOSE, "b": worlds.LOSE, "c": worlds.LOSE}}, 2)
    episodes = collect_episodes(world, worlds.TablePolicy({}), [Task(0, "g", worlds.Place(0))], seed=0)
    (snapshot,) = mine_failures(episodes, "uniform")
    taken = snapshot.taken
    other = next(a for a in "abc" if a != taken)
    pi = np.array([0.2, 0.3, 0.5])
    assert avoided(snapshot, TeacherHint(action=other), pi) == taken
    likeliest = max((a for a in "abc" if a != taken), key=lambda a: pi["abc".index(a)])
    assert avoided(snapshot, TeacherHint(action=taken), pi) == likeliest


def test_without_another_moment_there_is_no_mismatched_demo(worlds):
    from sightline.teachability import Task, collect_episodes, mine_failures

    world = worlds.MapWorld({0: {"a": worlds.LOSE, "b": worlds.LOSE}}, 2)
    tasks = [Task(0, "g", worlds.Place(0))]
    (snapshot,) = mine_failures(collect_episodes(world, worlds.TablePolicy({}), tasks, seed=0), "uniform")
    moment = Moment(snapshot, TeacherHint(action="a"), "b")
    alone, pair = (render_all(moment, other, PatchTemplates()) for other in (None, moment))
    assert set(pair) - set(alone) == {("mismatched", 0), ("mismatched", 1)}
    assert pair["mismatched", 0] == pair["demo", 0]
