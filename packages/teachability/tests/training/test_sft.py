from __future__ import annotations

import os

import pytest

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")

from sightline.teachability.training.encoding import TextEncoder
from sightline.teachability.training.loop import LoRALearner
from sightline.teachability.training.sft import IGNORED, SFTLearner, pad_rows, sft_rows
from sightline.teachability.training_records import LearnerConfig
from sightline.teachability.views import StateView

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CONFIG = LearnerConfig(loss="tokens", epochs=2, batch_size=12)


@pytest.fixture(scope="module")
def learners(models):
    return [
        kind(models.tiny_model(), TextEncoder(models.tiny_tokenizer()), CONFIG) for kind in (LoRALearner, SFTLearner)
    ]


def test_plain_loop_and_trl_agree_in_the_first_loss_and_the_first_epoch(learners, toy_examples, models):
    plain, trl = (learner.fit(toy_examples, seed=3).report for learner in learners)
    assert trl.adapter_before == plain.adapter_before
    assert trl.first_loss == pytest.approx(plain.first_loss, abs=1e-4)
    # One batch an epoch: the second epoch's loss is that after one equal step.
    assert trl.losses == pytest.approx(plain.losses, abs=2e-3)
    assert trl.steps == plain.steps == 2


def test_trl_gives_equal_bytes_for_equal_seeds_and_leaves_base_and_config_alone(learners, toy_examples):
    trl = learners[1]
    first = trl.fit(toy_examples, seed=5).report
    trl.fit(toy_examples[:6], seed=6)
    assert trl.fit(toy_examples, seed=5).report == first
    trl.slot.check_base()
    assert trl.slot.model.config.pad_token_id is None


def test_trl_students_answer_like_plain_ones_of_the_same_adapter(learners, toy_examples, tmp_path):
    plain, trl = learners
    fitted = trl.fit(toy_examples, seed=5)
    fitted.save(tmp_path / "a")
    view = StateView("buy", "page 4", ("click[a]", "click[bb]", "click[ccc]"))
    expected = fitted.policy.distributions([view])[0]
    assert plain.load(tmp_path / "a", "a").distributions([view])[0] == pytest.approx(expected, abs=1e-6)


def test_the_supervised_tokens_are_the_action_and_nothing_else(models, toy_examples):
    tokenizer = models.tiny_tokenizer()
    for row, example in zip(sft_rows(toy_examples), toy_examples, strict=True):
        learnt = [label for label in row["labels"] if label != IGNORED]
        assert tokenizer.decode(learnt).strip() == example.action
        assert row["labels"].count(IGNORED) == len(example.prompt_ids)


def test_padding_is_neither_attended_to_nor_learnt():
    batch = pad_rows([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}])
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]


def test_what_needs_the_candidates_is_refused(toy_examples):
    contrast = toy_examples[0].model_copy(update={"format": "contrast", "rejected": 1})
    with pytest.raises(ValueError, match="needs the candidate loss"):
        sft_rows([contrast])
