from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.jepa.data import dataset as module
from sightline.jepa.data.building import SteeringTexts, build_dataset, hold_out_fold, resplit, text_ids
from sightline.jepa.data.dataset import DatasetError, SteeringDataset, changed_categories, oracle_steering, steering
from sightline.jepa.data.splits import pair_components

MakeDataset = Callable[..., SteeringDataset]


def _texts() -> SteeringTexts:
    return SteeringTexts(
        questions=("list tables", "list tables", "make a bucket", "who am I"),
        sources=("Lists  tables.", "lists tables.", "Creates a bucket.", "Names the caller.", "Deletes a bucket."),
        pairs=np.array([[0, 0], [1, 1], [2, 2], [3, 3]]),
        question_category=np.array([0, 1, 2, -1]),
        source_category=np.array([0, 1, 2, 0, 2]),
        names=("first", "second", "third", "empty"),
        descriptions=("a database", "another database", "storage", "nothing"),
        keywords=("db", "", "bucket", ""),
    )


def _encode(texts: Sequence[str]) -> np.ndarray:
    """Rows of lengths other than one; each text has its own direction."""
    return np.stack([np.random.default_rng(sum(map(ord, text))).normal(size=8) * 3 for text in texts])


@pytest.fixture
def built() -> SteeringDataset:
    return build_dataset(_texts(), _encode, encoder="letters", seed=1)


def _equal(first: SteeringDataset, second: SteeringDataset) -> bool:
    return all(np.array_equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(SteeringDataset))


def test_a_data_set_comes_back_from_its_folder(built: SteeringDataset, tmp_path: Path) -> None:
    built.save(tmp_path / "data")
    opened = SteeringDataset.open(tmp_path / "data")
    assert _equal(opened, built)
    assert opened.question_texts == _texts().questions


def test_an_opened_data_set_is_mapped_and_read_only(built: SteeringDataset, tmp_path: Path) -> None:
    built.save(tmp_path / "data")
    opened = SteeringDataset.open(tmp_path / "data")
    assert isinstance(opened.sources, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        opened.sources[0, 0] = 1.0


def test_a_data_set_without_texts_is_saved_without(toy_dataset: SteeringDataset, tmp_path: Path) -> None:
    toy_dataset.save(tmp_path / "data")
    assert SteeringDataset.open(tmp_path / "data").source_texts == ()


def test_what_exists_is_not_overwritten(built: SteeringDataset, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("kept")
    with pytest.raises(FileExistsError, match="remove it first"):
        built.save(tmp_path / "data")
    assert (tmp_path / "data" / "precious").read_text() == "kept"


@pytest.mark.parametrize("writes", range(0, 14, 4))
def test_a_full_disk_leaves_nothing_behind(
    built: SteeringDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    done = []

    def full(descriptor: int) -> None:
        done.append(descriptor)
        if len(done) > writes:
            raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        built.save(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(built: SteeringDataset, tmp_path: Path) -> None:
    built.save(tmp_path / "data")
    (tmp_path / "data" / "centroids.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"centroids\.npy"):
        SteeringDataset.open(tmp_path / "data")


@pytest.mark.parametrize("keep", [0, 40, 150])
def test_a_cut_file_is_named(built: SteeringDataset, tmp_path: Path, keep: int) -> None:
    built.save(tmp_path / "data")
    path = tmp_path / "data" / "sources.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=r"sources\.npy"):
        SteeringDataset.open(tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dataset.json", '{"format": 2, "encoder": "a", "names": []}', "'format'"),
        ("dataset.json", '{"format": 1, "encoder": "a", "names": [], "more": 1}', "'more'"),
        ("dataset.json", "{", r"dataset\.json"),
        ("dataset.json", '{"format": 1, "encoder": "a", "names": ["only one"]}', "category_vectors must be"),
        ("source_texts.jsonl", '"one"\n', "source_texts has 1 texts for 5 rows"),
        ("source_texts.jsonl", "nonsense\n", r"source_texts\.jsonl, line 1"),
        ("question_texts.jsonl", '"a"\n{"b": 1}\n', r"question_texts\.jsonl, line 2: expected a string"),
    ],
)
def test_a_file_that_holds_something_else_is_named(
    built: SteeringDataset, tmp_path: Path, name: str, content: str, message: str
) -> None:
    built.save(tmp_path / "data")
    (tmp_path / "data" / name).write_text(content)
    with pytest.raises(DatasetError, match=message):
        SteeringDataset.open(tmp_path / "data")


def test_an_array_of_objects_is_not_unpickled(built: SteeringDataset, tmp_path: Path) -> None:
    built.save(tmp_path / "data")
    np.save(tmp_path / "data" / "pairs.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"pairs\.npy"):
        SteeringDataset.open(tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("questions", lambda a: a * 2, r"questions, row 0: norm 2"),
        ("sources", lambda a: np.where(np.arange(len(a))[:, None] == 3, np.nan, a), r"sources, row 3: norm nan"),
        ("centroids", lambda a: a * 0, r"centroids, row 0: norm 0"),
        ("keyword_vectors", lambda a: a * 0.5, r"keyword_vectors, row 0: norm 0\.5"),
        ("questions", lambda a: a.astype(np.float64), "questions must be float32"),
        ("questions", lambda a: a[:, 0], "questions must have shape"),
        ("sources", lambda a: a[:, :-1], "sources must be float32 of shape"),
        ("pairs", lambda a: a + 4, r"pairs, column 0, row 0: 4 is not within 0 to 3"),
        ("pairs", lambda a: a * [1, -1], r"pairs, column 1, row 1: -1"),
        ("pair_split", lambda a: a + 3, "pair_split, row 0"),
        ("question_category", lambda a: a - 1, "question_category, row 3: -2"),
        ("source_category", lambda a: a + 2, "source_category, row 2: 4"),
        ("question_texts", lambda a: a[:2], "question_texts has 2 texts for 4 rows"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    built: SteeringDataset, name: str, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    changed = change(getattr(built, name))
    if name in ("sources", "centroids", "keyword_vectors") and isinstance(changed, np.ndarray):
        changed = changed.astype(np.float32)
    with pytest.raises(DatasetError, match=message):
        replace(built, **{name: changed})


def test_a_question_may_not_be_in_two_splits(built: SteeringDataset) -> None:
    with pytest.raises(DatasetError, match="different splits"):
        replace(built, pairs=np.array([[0, 0], [0, 2]]), pair_split=np.array([0, 2], dtype=np.int8))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_right_answers_are_found_as_by_going_through_all_pairs_and_texts(
    make_toy_dataset: MakeDataset, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dataset = make_toy_dataset(sources=30)
    pairs = np.stack([rng.integers(0, 25, 40), rng.integers(0, 30, 40)], axis=1)
    texts = rng.integers(0, 20, 30)
    dataset = replace(dataset, pairs=pairs, pair_split=np.zeros(40, dtype=np.int8), source_text_ids=texts)
    asked = rng.integers(0, 30, 12)
    for question, found in zip(asked, dataset.relevant(asked), strict=True):
        wanted = {texts[source] for owner, source in pairs if owner == question}
        assert found.tolist() == [source for source in range(30) if texts[source] in wanted]
        assert found.dtype == np.int64


def test_queries_are_the_distinct_questions_of_a_split(toy_dataset: SteeringDataset) -> None:
    twice = replace(
        toy_dataset,
        pairs=np.tile(toy_dataset.pairs, (2, 1)),
        pair_split=np.tile(toy_dataset.pair_split, 2),
    )
    assert twice.queries("test").tolist() == np.flatnonzero(toy_dataset.pair_split == 2).tolist()
    assert sum(len(twice.queries(split)) for split in ("train", "validation", "test")) == len(toy_dataset.questions)


def test_no_steering_is_zeros_that_are_not_given(built: SteeringDataset) -> None:
    found = steering(built, np.array([0, 2]), "none")
    assert not found.vectors.any()
    assert not found.given.any()


def test_steering_by_category_is_the_description_where_one_is_given(built: SteeringDataset) -> None:
    found = steering(built, np.array([2, 3, 0]), "category")
    assert found.given.tolist() == [True, False, True]
    np.testing.assert_array_equal(found.vectors[[0, 2]], built.category_vectors[[2, 0]])
    assert not found.vectors[1].any()


def test_categories_of_the_call_take_the_place_of_the_questions_own(built: SteeringDataset) -> None:
    found = steering(built, np.array([0, 3]), "category", np.array([-1, 3]))
    assert found.given.tolist() == [False, True]
    np.testing.assert_array_equal(found.vectors[1], built.category_vectors[3])


def test_steering_by_keywords_is_given_where_some_are_typed(built: SteeringDataset) -> None:
    found = steering(built, np.arange(4), "keywords")
    assert found.given.tolist() == [True, False, True, False]
    np.testing.assert_array_equal(found.vectors, built.keyword_vectors)


def test_residual_steering_points_from_the_question_to_the_category(built: SteeringDataset) -> None:
    found = steering(built, np.array([2, 3]), "residual")
    difference = built.category_vectors[2].astype(np.float64) - built.questions[2]
    np.testing.assert_allclose(found.vectors[0], difference / np.linalg.norm(difference), atol=1e-6)
    assert found.given.tolist() == [True, False]
    assert not found.vectors[1].any()
    assert found.vectors.dtype == np.float32


def test_a_question_that_is_its_category_has_no_residual(built: SteeringDataset) -> None:
    same = replace(built, category_vectors=np.tile(built.questions[:1], (4, 1)))
    found = steering(same, np.array([0]), "residual")
    assert not found.given[0]
    assert not found.vectors.any()


@pytest.mark.parametrize("categories", [[0, 4], [-2, 0], [0]])
def test_categories_that_do_not_exist_are_refused(built: SteeringDataset, categories: list[int]) -> None:
    with pytest.raises(ValueError, match="2 ids from -1 to 3"):
        steering(built, np.array([0, 1]), "category", np.array(categories))


def test_an_unknown_kind_is_refused(built: SteeringDataset) -> None:
    with pytest.raises(ValueError, match="'oracle'"):
        steering(built, np.array([0]), "oracle")  # ty: ignore[invalid-argument-type]  # what a caller may try


def test_oracle_steering_is_the_centroid_of_the_answers_category(built: SteeringDataset) -> None:
    found = oracle_steering(built, np.array([2, 3]))
    np.testing.assert_array_equal(found.vectors, built.centroids[[2, 0]])
    assert found.given.all()


@pytest.mark.parametrize("change", ["missing", "random", "adjacent"])
def test_a_share_of_the_categories_is_changed(make_toy_dataset: MakeDataset, change: str) -> None:
    dataset = make_toy_dataset(sources=2000, without_category=0.2)
    asked = np.arange(2000)
    own = dataset.question_category
    found = changed_categories(dataset, asked, share=0.3, change=change, seed=0)  # ty: ignore[invalid-argument-type]  # parametrized
    changed = found != own
    assert 0.26 < changed[own >= 0].mean() < 0.34
    assert not changed[own < 0].any()
    assert (found[changed] == -1).all() if change == "missing" else ((found[changed] >= 0) & (found[changed] < 4)).all()


def test_an_adjacent_category_is_the_most_similar_other(toy_dataset: SteeringDataset) -> None:
    found = changed_categories(toy_dataset, np.arange(160), share=1.0, change="adjacent", seed=0)
    for own, other in zip(toy_dataset.question_category, found, strict=True):
        cosines = {k: float(toy_dataset.category_vectors[own] @ toy_dataset.category_vectors[k]) for k in range(4)}
        del cosines[int(own)]
        assert other == max(cosines, key=lambda k: cosines[k])


def test_a_single_category_cannot_be_changed_to_another(make_toy_dataset: MakeDataset) -> None:
    dataset = make_toy_dataset(categories=1)
    with pytest.raises(ValueError, match="at least two"):
        changed_categories(dataset, np.array([0]), share=1.0, change="random", seed=0)


def test_equal_texts_are_embedded_once_and_scaled_to_unit_length() -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return _encode(texts)

    dataset = build_dataset(_texts(), encode, encoder="letters")
    assert len(asked) == len(set(asked))
    assert "" not in asked
    expected = _encode(["make a bucket"])[0]
    np.testing.assert_allclose(dataset.questions[2], expected / np.linalg.norm(expected), rtol=1e-5)


def test_texts_are_equal_up_to_case_and_white_space() -> None:
    assert text_ids(["A  b", "c", "a B ", "C!", "c"]).tolist() == [0, 1, 0, 3, 1]


def test_questions_of_one_text_are_in_one_split(built: SteeringDataset) -> None:
    for seed in range(8):
        split = resplit(built, seed).pair_split
        assert split[0] == split[1]


def test_centroids_are_means_of_training_sources_else_of_all_else_the_description(built: SteeringDataset) -> None:
    data = replace(
        built,
        pairs=np.array([[0, 0], [1, 2], [2, 2], [3, 3]]),
        question_text_ids=np.arange(4),
        source_text_ids=np.arange(5),
    )
    for seed in range(6):
        data = resplit(data, seed, (0.4, 0.2, 0.4))
        training = set(data.pairs[data.pair_split == 0, 1].tolist())
        for category in range(3):
            members = np.flatnonzero(data.source_category == category)
            mean = data.sources[[m for m in members if m in training] or members].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(data.centroids[category], mean / np.linalg.norm(mean), atol=1e-6)
        np.testing.assert_array_equal(data.centroids[3], data.category_vectors[3])


def test_a_split_again_shares_the_embeddings(built: SteeringDataset) -> None:
    assert resplit(built, 7).sources is built.sources


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda n: np.ones((n - 1, 4)), "a row per text"),
        (lambda n: np.zeros((n, 4)), "zero or not finite"),
        (lambda n: np.full((n, 4), np.inf), "zero or not finite"),
    ],
)
def test_an_encoder_that_breaks_its_promise_is_named(rows: Callable[[int], np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=f"'letters' gave .*{message}"):
        build_dataset(_texts(), lambda texts: rows(len(texts)), encoder="letters")


def test_folds_hold_out_every_training_component_once(built: SteeringDataset) -> None:
    folds = [hold_out_fold(built, fold, 2, seed=5) for fold in range(2)]
    held = np.concatenate([fold.queries("test") for fold in folds])
    assert sorted(held.tolist()) == built.queries("train").tolist()
    for fold in folds:
        assert fold.queries("validation").tolist() == built.queries("validation").tolist()
        seen = {*fold.queries("train").tolist(), *fold.queries("test").tolist()}
        assert seen == set(built.queries("train").tolist())
        components = pair_components(fold.pairs, fold.question_text_ids, fold.source_text_ids)
        parts = [set(components[fold.pair_split == split].tolist()) for split in range(3)]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]


def test_what_is_held_out_leaves_no_trace_in_the_centroids(built: SteeringDataset) -> None:
    fold = hold_out_fold(built, 0, 2, seed=0)
    training = np.unique(fold.pairs[fold.pair_split == 0, 1])
    for category in np.unique(built.source_category[training]):
        own = training[built.source_category[training] == category]
        mean = built.sources[own].mean(axis=0)
        np.testing.assert_allclose(fold.centroids[category], mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize(("fold", "folds"), [(2, 2), (-1, 2), (0, 0)])
def test_a_fold_that_is_none_is_refused(built: SteeringDataset, fold: int, folds: int) -> None:
    with pytest.raises(ValueError, match="fold must be"):
        hold_out_fold(built, fold, folds, seed=0)


def test_more_folds_than_components_are_refused(built: SteeringDataset) -> None:
    with pytest.raises(ValueError, match="empty"):
        hold_out_fold(built, 9999, 10_000, seed=0)
