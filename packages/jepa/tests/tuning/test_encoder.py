from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.jepa import SteeringDataset
from sightline.jepa.asking.encoders import open_sentence_model
from sightline.jepa.tuning import EncoderTuning, known_answers, training_batches, tune_encoder
from sightline.jepa.tuning import encoder as module

TUNING = EncoderTuning(epochs=2, batch_size=8, max_tokens=16, learning_rate=0.01, checkpoint_steps=3)


def tuned_weights(model_folder: Path, data: SteeringDataset, checkpoint: Path) -> dict[str, torch.Tensor]:
    model = open_sentence_model(str(model_folder), "cpu")
    tune_encoder(model, data, TUNING, seed=0, checkpoint=checkpoint)
    return model.state_dict()


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_every_batch_holds_pairs_for_training_alone_and_every_epoch_all_of_them(coded_dataset: SteeringDataset):
    batches = training_batches(coded_dataset, TUNING, 0)
    training = coded_dataset.pairs[coded_dataset.pair_split == 0]
    per_epoch = -(-len(training) // TUNING.batch_size)
    assert len(batches) == TUNING.epochs * per_epoch
    orders = [np.concatenate(batches[at : at + per_epoch]) for at in range(0, len(batches), per_epoch)]
    for order in orders:
        assert sorted(order.tolist()) == sorted(training.tolist())
    assert not np.array_equal(orders[0], orders[1])


def test_a_pair_that_is_left_over_alone_has_nothing_to_be_told_from_and_is_left_out(coded_dataset: SteeringDataset):
    pairs = int((coded_dataset.pair_split == 0).sum())
    for left_over in (1, 2):
        size = next(size for size in range(3, pairs) if pairs % size == left_over)
        sizes = [len(each) for each in training_batches(coded_dataset, EncoderTuning(batch_size=size), 0)]
        assert sizes == [size] * (pairs // size) + [2] * (left_over == 2)


def test_what_validation_and_test_say_changes_no_weight(
    coded_model: Path, coded_dataset: SteeringDataset, tmp_path: Path
):
    training = coded_dataset.pairs[coded_dataset.pair_split == 0]

    def with_others_replaced(said: Sequence[str], kept: np.ndarray) -> tuple[str, ...]:
        return tuple(text if row in kept else "thing1 ask2" for row, text in enumerate(said))

    changed = replace(
        coded_dataset,
        question_texts=with_others_replaced(coded_dataset.question_texts, training[:, 0]),
        source_texts=with_others_replaced(coded_dataset.source_texts, training[:, 1]),
    )
    assert changed.source_texts != coded_dataset.source_texts
    first = tuned_weights(coded_model, coded_dataset, tmp_path / "first")
    assert same(first, tuned_weights(coded_model, changed, tmp_path / "second"))
    one = int(training[0, 1])
    said = coded_dataset.source_texts
    other = replace(coded_dataset, source_texts=(*said[:one], "thing1 ask2", *said[one + 1 :]))
    assert not same(first, tuned_weights(coded_model, other, tmp_path / "third"))


def test_a_tuning_that_was_killed_goes_on_to_the_same_weights(
    coded_model: Path, coded_dataset: SteeringDataset, tmp_path: Path, kill_at_call: Callable[..., list[int]]
):
    whole = tuned_weights(coded_model, coded_dataset, tmp_path / "whole")
    seen = kill_at_call(module, "contrastive_loss", 8)
    with pytest.raises(KeyboardInterrupt):
        tuned_weights(coded_model, coded_dataset, tmp_path / "killed")
    assert same(whole, tuned_weights(coded_model, coded_dataset, tmp_path / "killed"))
    steps = len(training_batches(coded_dataset, TUNING, 0))
    assert len(seen) == 8 + steps - 6  # six steps were on the disk


def test_tuning_teaches_questions_what_answers_them_and_leaves_a_plain_model(
    coded_model: Path, coded_dataset: SteeringDataset, tmp_path: Path
):
    before = open_sentence_model(str(coded_model), "cpu").state_dict()
    model = open_sentence_model(str(coded_model), "cpu")
    drawn = torch.random.get_rng_state()
    losses = tune_encoder(model, coded_dataset, TUNING, seed=0, checkpoint=tmp_path / "checkpoint")
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert not model.training
    assert model.state_dict().keys() == before.keys()
    changed = {name for name, values in model.state_dict().items() if not torch.equal(values, before[name])}
    assert changed
    assert all(".dense." in name or ".self." in name for name in changed)  # linear layers, no embedding and no norm


def test_answers_of_equal_questions_and_of_equal_text_are_no_wrong_ones(coded_dataset: SteeringDataset):
    pairs = coded_dataset.pairs[coded_dataset.pair_split == 0][:4]
    assert np.array_equal(known_answers(coded_dataset, pairs), np.eye(4, dtype=bool))
    words, sources = np.array(coded_dataset.question_text_ids), np.array(coded_dataset.source_text_ids)
    words[pairs[1, 0]] = words[pairs[0, 0]]
    sources[pairs[3, 1]] = sources[pairs[2, 1]]
    found = known_answers(replace(coded_dataset, question_text_ids=words, source_text_ids=sources), pairs)
    assert set(zip(*np.nonzero(found & ~np.eye(4, dtype=bool)), strict=True)) == {(0, 1), (1, 0), (2, 3), (3, 2)}
