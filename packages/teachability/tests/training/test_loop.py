from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sightline.teachability.training.loop import LoRALearner, batch_loss, epochs, example_loss
from sightline.teachability.training.policy import plain_scores
from sightline.teachability.training_records import LearnerConfig


def learner(models, **options):
    from sightline.teachability.training.encoding import TextEncoder

    return LoRALearner(models.tiny_model(), TextEncoder(models.tiny_tokenizer()), LearnerConfig(**options))


def test_equal_examples_and_seeds_give_equal_bytes_after_any_draws(models, toy_examples):
    first = learner(models).fit(toy_examples, seed=3).report
    torch.rand(11)
    made = learner(models)
    made.fit(toy_examples[:5], seed=9)
    torch.manual_seed(1234)
    again = made.fit(toy_examples, seed=3).report
    assert again == first
    assert made.fit(toy_examples, seed=4).report.adapter_after != first.adapter_after
    made.slot.check_base()


def test_training_raises_what_it_should_and_leaves_the_base_alone(models, toy_examples):
    from sightline.teachability.views import StateView

    made = learner(models, epochs=12, learning_rate=3e-3)
    view = StateView("buy", "page 4", ("click[a]", "click[bb]", "click[ccc]"))
    before = made.base.distributions([view])[0]
    fitted = made.fit([example for example in toy_examples if example.chosen == 1], seed=0)
    assert fitted.policy.distributions([view])[0][1] > before[1] + 0.3
    assert np.array_equal(made.base.distributions([view])[0], before)
    trace = fitted.report.confidence["4"]
    assert len(trace) == 13
    assert trace[0] == pytest.approx(before[1], abs=1e-5)
    assert trace[-1] > trace[0]


def test_random_labels_are_not_learnt_in_the_same_time(models, toy_examples):
    made = learner(models, epochs=3)
    fixed = [example.model_copy(update={"chosen": 1, "action": "click[bb]"}) for example in toy_examples]
    right, scattered = (made.fit(examples, seed=0).report for examples in (fixed, toy_examples))
    assert right.losses[0] - right.losses[-1] > 2 * (scattered.losses[0] - scattered.losses[-1])


def test_two_students_can_be_used_in_turn(models, toy_examples):
    from sightline.teachability.views import StateView

    made = learner(models, learning_rate=1e-2)
    view = StateView("buy", "page 4", ("click[a]", "click[bb]", "click[ccc]"))
    first, second = (made.fit(toy_examples[i::3], seed=0).policy for i in range(2))
    answers = [policy.distributions([view])[0] for policy in (first, second, first, second, made.base, first)]
    assert np.array_equal(answers[0], answers[2])
    assert np.array_equal(answers[0], answers[5])
    assert np.array_equal(answers[1], answers[3])
    assert len({policy.fingerprint for policy in (first, second, made.base)}) == 3


def test_a_student_that_was_written_answers_the_same_when_read(models, toy_examples, tmp_path):
    from sightline.teachability.views import StateView

    made = learner(models, learning_rate=1e-2)
    view = StateView("buy", "page 4", ("click[a]", "click[bb]", "click[ccc]"))
    fitted = made.fit(toy_examples, seed=0)
    expected = fitted.policy.distributions([view])[0]
    fitted.save(tmp_path / "run")
    read = learner(models).load(tmp_path / "run", "again")
    assert read.distributions([view])[0] == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_each_way_of_teaching_is_its_formula(toy_examples):
    logs = torch.tensor([0.2, 0.3, 0.5]).log()
    base = toy_examples[0]  # chosen is 0
    assert example_loss(logs, base, 0.1).item() == pytest.approx(-math.log(0.2))
    contrast = base.model_copy(update={"format": "contrast", "rejected": 2})
    assert example_loss(logs, contrast, 0.1).item() == pytest.approx(-math.log(0.2 / (0.2 + 0.5)))
    target = (0.5, 0.25, 0.25)
    hint = base.model_copy(update={"format": "hint", "target": target})
    expected = -sum(t * math.log(p) for t, p in zip(target, (0.2, 0.3, 0.5), strict=True))
    assert example_loss(logs, hint, 0.1).item() == pytest.approx(expected)
    replay = base.model_copy(update={"source": "replay", "target": target})
    divergence = sum(t * math.log(t / p) for t, p in zip(target, (0.2, 0.3, 0.5), strict=True))
    assert example_loss(logs, replay, 0.1).item() == pytest.approx(-math.log(0.2) + 0.1 * divergence)
    sure = base.model_copy(update={"source": "replay", "target": (1.0, 0.0, 0.0)})
    assert example_loss(logs, sure, 1.0).item() == pytest.approx(-2 * math.log(0.2))


def test_the_token_loss_is_the_mean_over_the_actions_tokens(models, toy_examples):
    made = learner(models)
    batch = toy_examples[:4]
    with torch.no_grad():
        loss = batch_loss(made.slot.model, batch, LearnerConfig(loss="tokens"), plain_scores).item()
        total = count = 0.0
        for example in batch:
            context = list(example.prompt_ids)
            for token in example.completion_ids:
                total -= made.slot.model(torch.tensor([context])).logits[0, -1].log_softmax(-1)[token].item()
                count += 1
                context.append(token)
    assert loss == pytest.approx(total / count, abs=1e-4)


def test_weights_weigh(models, toy_examples):
    made = learner(models)
    one, other = toy_examples[:2]
    with torch.no_grad():
        losses = [batch_loss(made.slot.model, [e], made.config, plain_scores).item() for e in (one, other)]
        mixed = batch_loss(
            made.slot.model, [one.model_copy(update={"weight": 3.0}), other], made.config, plain_scores
        ).item()
    assert mixed == pytest.approx((3 * losses[0] + losses[1]) / 4, abs=1e-5)


def test_every_epoch_meets_every_example_once_in_a_new_order():
    orders = epochs(20, 3, 0)
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1]


def test_no_examples_and_another_rank_are_refused(models, toy_examples):
    made = learner(models)
    with pytest.raises(ValueError, match="nothing to learn"):
        made.fit([], seed=0)
    with pytest.raises(ValueError, match="rank and alpha"):
        made.fit(toy_examples, seed=0, config=LearnerConfig(rank=2))
