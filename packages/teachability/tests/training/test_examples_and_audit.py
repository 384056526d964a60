from __future__ import annotations

import numpy as np
import pytest

from sightline.teachability.errors import AuditError
from sightline.teachability.records import TeacherHint
from sightline.teachability.training.audit import AuditRules, audit_examples
from sightline.teachability.training.examples import ExampleBuilder, draw_replay, replay_pool
from sightline.teachability.training_records import Example, Source


def test_a_correction_shows_what_the_student_sees_when_it_acts_and_learns_the_teachers_action(scene, models):
    tokenizer = models.tiny_tokenizer()
    usable = [one for one in scene.labelled if isinstance(one.hint, TeacherHint)]
    for format_ in ("demo", "contrast", "hint"):
        for one, example in zip(usable, scene.builder.corrections(usable, [format_] * len(usable)), strict=True):
            view = scene.world.view(scene.world.decode(one.snapshot.state_bytes))
            assert tokenizer.decode(list(example.prompt_ids)).endswith("action:")
            assert "tip:" not in tokenizer.decode(list(example.prompt_ids))
            assert tokenizer.decode(list(example.completion_ids)) == f" {one.hint.action}\n"
            assert len(example.candidates_ids) == len(view.actions)
            assert (example.rejected is not None) == (format_ == "contrast")
            assert (example.target is not None) == (format_ == "hint")


def test_a_hint_is_distilled_from_what_the_student_does_when_it_reads_it(scene):
    one = scene.labelled[0]
    (example,) = scene.builder.corrections([one], ["hint"])
    patched = next(e for e in one.patches.effects if (e.kind, e.paraphrase) == ("hint", 0))
    assert example.target == pytest.approx(patched.probabilities, abs=1e-5)


def test_literal_examples_hold_the_text_in_the_prompt(scene, models):
    builder = ExampleBuilder(scene.world, scene.builder._encode, scene.learner.base, literal=True)
    (example,) = builder.corrections(scene.labelled[:1], ["contrast"])
    assert "tip: do not choose" in models.tiny_tokenizer().decode(list(example.prompt_ids))
    assert (example.format, example.rejected) == ("demo", None)


def test_replay_is_the_students_own_best_action_held_to_its_distribution(scene):
    pool = replay_pool(scene.episodes)
    assert pool
    for snapshot, example in zip(pool, scene.builder.replays(pool), strict=True):
        view = scene.world.view(scene.world.decode(snapshot.state_bytes))
        expected = scene.learner.base.distributions([view])[0]
        assert example.target == pytest.approx(tuple(expected), abs=1e-5)
        assert example.chosen == int(np.argmax(expected))


def test_replay_comes_from_successes_of_other_groups(scene):
    pool = replay_pool(scene.episodes)
    winners = {episode.group for episode in scene.episodes if episode.outcome == "success"}
    assert {one.group for one in pool} <= winners
    left_out = sorted(winners)[0]
    assert left_out not in {one.group for one in replay_pool(scene.episodes, exclude={left_out})}
    drawn = draw_replay(pool, 2, seed=0, exclude={left_out})
    assert drawn == draw_replay(pool, 2, seed=0, exclude={left_out})
    assert left_out not in {one.group for one in drawn}
    assert len(draw_replay(pool, 10**6, seed=0)) == len(pool)


def example(
    action: str, kind: str, source: Source = "correction", group: str = "g", words: str | None = None
) -> Example:
    tokens = tuple((words or action).encode())
    return Example(
        prompt_ids=(1,),
        candidates_ids=(tokens,),
        chosen=0,
        source=source,
        snapshot_id="s",
        group=group,
        format="demo",
        kind=kind,
        action=action,
    )


def audit(examples, **options):
    audit_examples(examples, action_kind=lambda a: a.split("[")[0], decode=lambda ids: bytes(ids).decode(), **options)


TURN_BACK = [*(example("prev[]", "item") for _ in range(68)), *(example("buy[]", "item") for _ in range(7))]


def test_a_set_that_mostly_turns_back_is_refused_and_replay_makes_it_good():
    with pytest.raises(AuditError, match="91% of 75 examples say 'prev', which is 0% of the replay"):
        audit(TURN_BACK)
    replay = [example("buy[]", "item", "replay") for _ in range(60)]
    audit([*TURN_BACK, *replay])


def test_only_what_the_student_does_itself_may_dominate():
    searches = [example("find[x]", "index") for _ in range(20)]
    audit([*searches, *(example("find[y]", "index", "replay") for _ in range(5))])
    with pytest.raises(AuditError, match="say 'find', which is 0% of the replay"):
        audit([*searches, *(example("buy[]", "item", "replay") for _ in range(5))])


def test_pages_without_the_action_that_they_are_for_are_refused():
    rules = AuditRules(required={"item": "buy"}, dominant=1.0)
    pages = [example("prev[]", "item") for _ in range(9)]
    with pytest.raises(AuditError, match="none of 9 examples on pages of kind 'item' says 'buy'"):
        audit(pages, rules=rules)
    audit([*pages, example("buy[]", "item")], rules=rules)


def test_supervision_of_other_words_and_panel_groups_are_refused_together():
    wrong = [example("buy[]", "item", group="panel 1", words="buy")]
    with pytest.raises(AuditError, match=r"supervise other words.*'buy' in place of 'buy\[\]'.*panel are trained on"):
        audit(wrong, panel_groups={"panel 1"})
