import builtins
import dataclasses

import numpy as np
import pytest

from sightline.tamiyo_policy.hosts.digits import Split, digits_data, patches, split_images


def test_the_digits_are_split_as_documented_and_every_sample_is_in_one_part():
    data = digits_data()
    assert [len(data.train), len(data.validation), len(data.test)] == [1000, 300, 497]
    assert (data.channels, data.tokens, data.num_classes) == (4, 16, 10)
    labels = np.concatenate([data.train.labels, data.validation.labels, data.test.labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_scale_comes_from_the_training_part_alone():
    data = digits_data(seed=3)
    assert abs(float(data.train.inputs.mean())) < 1e-5
    assert abs(float(data.train.inputs.std()) - 1) < 1e-5
    assert abs(float(data.test.inputs.mean())) > 1e-5


def test_the_split_that_results_were_published_on_is_the_same_today():
    data = digits_data()
    first = [part.labels[:12].tolist() for part in (data.train, data.validation, data.test)]
    assert first == [
        [6, 6, 6, 2, 5, 6, 6, 2, 2, 1, 1, 9],
        [1, 7, 8, 7, 4, 6, 6, 0, 7, 6, 4, 5],
        [5, 2, 2, 9, 1, 8, 5, 5, 0, 1, 0, 6],
    ]
    np.testing.assert_allclose(data.test.inputs[0, :, 5], [1.85, -0.645, 1.683, 1.184], atol=1e-3)


def test_equal_seeds_give_equal_splits_and_others_do_not():
    assert np.array_equal(digits_data(1).test.inputs, digits_data(1).test.inputs)
    assert not np.array_equal(digits_data(1).test.labels, digits_data(2).test.labels)


def test_patches_are_in_reading_order():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    assert patches(image)[0].T.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_patches_that_do_not_divide_the_image_are_refused():
    with pytest.raises(ValueError, match="do not divide images of 5 x 4"):
        patches(np.zeros((1, 5, 4), np.float32))


def test_a_split_that_leaves_no_test_part_is_refused():
    with pytest.raises(ValueError, match="leave none of 10"):
        split_images(np.zeros((10, 2, 2), np.float32), np.zeros(10, np.int64), train=6, validation=4, seed=0)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2, np.int64), "float32"),
        (np.zeros((2, 3, 4), np.float32), np.zeros(3, np.int64), "labels must be"),
        (np.zeros((0, 3, 4), np.float32), np.zeros(0, np.int64), "at least one"),
    ],
)
def test_a_malformed_split_is_refused(inputs, labels, message):
    with pytest.raises(ValueError, match=message):
        Split(inputs, labels)


def test_labels_outside_the_classes_and_unequal_tokens_are_refused(small_digits):
    with pytest.raises(ValueError, match=r"train labels must lie in \[0, 3\)"):
        dataclasses.replace(small_digits, num_classes=3)
    narrow = Split(small_digits.test.inputs[:, :2], small_digits.test.labels)
    with pytest.raises(ValueError, match="test tokens"):
        dataclasses.replace(small_digits, test=narrow)


def test_a_missing_scikit_learn_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"sightline-tamiyo-policy\[digits\]"):
        digits_data()
