"""The rows of the steering experiment that a cross-encoder ranks, or has taught."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments.steering.cross_encoder as cross_encoder
from experiments.steering.cross_encoder import (
    CrossEncoder,
    Lessons,
    best_sources,
    cross_encoder_seconds,
    hard_candidates,
    lessons_stages,
    read_lessons,
    score_pairs,
    tune_cross_encoder,
)
from experiments.steering.data import FILTERED, MODES, Data
from experiments.steering.distillation import (
    DISTILLED,
    DISTILLED_WITH_BM25,
    distilled_method,
    distilled_methods,
    reranked,
)
from experiments.steering.findings import COSINE, SOFT_FILTER, STEERED_ADAPTER, UNSTEERED_ADAPTER, DataFindings
from experiments.steering.methods import (
    DEFAULT,
    DEFAULT_WITH_BM25,
    FUSED,
    PREDICTORS,
    RESIDUAL,
    Scores,
    score_distilled_stages,
)
from experiments.steering.report import cost_of_distillation, scorer_tables
from experiments.steering.settings import Distillation, SteeringSettings
from lab.encoder import open_model
from lab.run import RunDirectory
from lab.settings import HASHING
from sightline.jepa import SteeringDataset, evaluate, fit_adapter, steering
from sightline.jepa.baselines import fit_cosine
from sightline.jepa.ranking import Method, fit_lexical_index, method_scores

CHOSEN = Distillation(
    epochs=2, max_tokens=16, batch_size=6, candidates=4, reranked=5, learning_rate=0.01, checkpoint_steps=3
)


def settings_of(model_folder: Path, **changes: object) -> SteeringSettings:
    given = {"encoder": str(model_folder), "seeds": (0,), "data": ("shop",), "distillation": CHOSEN, **changes}
    return SteeringSettings.model_validate(given | {"adapter_epochs": 2, "adapter_choices": 1})


def opened(model_folder: Path) -> CrossEncoder:
    return CrossEncoder(open_model(settings_of(model_folder)), CHOSEN, seed=0)


def tuned(
    model_folder: Path, data: SteeringDataset, checkpoint: Path, chosen: Distillation = CHOSEN
) -> tuple[CrossEncoder, list[float]]:
    model, candidates = opened(model_folder), hard_candidates(data, chosen.candidates, 0)
    return model, tune_cross_encoder(model, data, candidates, chosen, seed=0, checkpoint=checkpoint)[0]


def same(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    one, other = left.state_dict(), right.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def fit_unsteered(dataset: SteeringDataset, settings: SteeringSettings) -> Callable[[int], Method]:
    return lambda seed: fit_adapter(dataset, seed, kind="none", grid=settings.adapter_grid())


def test_candidates_are_the_answer_and_near_sources_of_other_training_pairs_alone(dataset: SteeringDataset) -> None:
    found = hard_candidates(dataset, 6, 0)
    pairs = dataset.pairs[dataset.pair_split == 0]
    assert found.shape == (len(pairs), 6)
    assert np.array_equal(found[:, 0], pairs[:, 1])
    assert np.isin(found, pairs[:, 1]).all()
    assert not np.isin(found, dataset.pairs[dataset.pair_split != 0, 1]).any()
    pool = np.unique(pairs[:, 1])
    for question, (own, *wrong) in zip(pairs[:, 0], found.tolist(), strict=True):
        assert own not in wrong
        assert len(set(wrong)) == 5
        cosines = dataset.sources[pool] @ dataset.questions[question]
        cosines[pool == own] = -np.inf
        assert set(wrong) <= set(pool[np.argsort(-cosines)[:20]].tolist())
    assert not np.array_equal(found, hard_candidates(dataset, 6, 1))


def test_other_answers_and_those_of_equal_words_are_no_wrong_candidates(dataset: SteeringDataset) -> None:
    training = np.flatnonzero(dataset.pair_split == 0)
    first, second, third = dataset.pairs[training[:3]]
    pairs = dataset.pairs.copy()
    pairs[training[1], 0] = first[0]  # one more answer of the first question
    words = dataset.question_text_ids.copy()
    words[third[0]] = words[first[0]]
    same_words = replace(dataset, pairs=pairs, question_text_ids=words)
    found = hard_candidates(same_words, len(training) - 2, 0)
    answers = {int(first[1]), int(second[1]), int(third[1])}
    assert all(not answers & set(row[1:].tolist()) for row in found[:3])
    with pytest.raises(ValueError, match="none is wrong"):
        hard_candidates(replace(dataset, question_text_ids=np.zeros_like(words)), 3, 0)


def test_an_untaught_cross_encoder_scores_by_what_the_two_parts_have_in_common(
    model_folder: Path, dataset: SteeringDataset
) -> None:
    model = opened(model_folder).eval()
    with torch.inference_mode():
        asked, other = [dataset.question_texts[0]] * 2, dataset.source_texts[:2]
        scores = model(asked, list(other))
        alone = model(asked[:1], [other[0]])
        equal = model(["say1"], ["say1"])
    assert scores.abs().max() <= 20.0001  # cosines, divided by a temperature
    torch.testing.assert_close(scores[:1], alone)  # a pair's score does not depend on its batch
    assert scores[0] != scores[1]
    assert equal < 20  # both parts are read together, in places of their own


def test_tuning_tells_right_sources_from_wrong_ones_of_training_pairs(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path
) -> None:
    longer = CHOSEN.model_copy(update={"epochs": 40, "learning_rate": 0.003, "checkpoint_steps": 1000})
    model, losses = tuned(model_folder, dataset, tmp_path / "checkpoint.safetensors", longer)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert not model.training
    questions = dataset.pairs[dataset.pair_split == 0, 0]
    candidates = hard_candidates(dataset, CHOSEN.candidates, 0)
    scores, _ = score_pairs(model, dataset, questions, candidates, tmp_path / "tuned")
    before, _ = score_pairs(opened(model_folder).eval(), dataset, questions, candidates, tmp_path / "before")
    assert (scores.argmax(1) == 0).mean() > (before.argmax(1) == 0).mean() + 0.1


def test_what_validation_and_test_say_changes_no_weight_of_the_teacher(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path
) -> None:
    training = dataset.pairs[dataset.pair_split == 0]
    changed = replace(
        dataset,
        question_texts=tuple(
            text if row in training[:, 0] else "thing1" for row, text in enumerate(dataset.question_texts)
        ),
        source_texts=tuple(
            text if row in training[:, 1] else "thing1" for row, text in enumerate(dataset.source_texts)
        ),
    )
    first, _ = tuned(model_folder, dataset, tmp_path / "first")
    second, _ = tuned(model_folder, changed, tmp_path / "second")
    assert changed.source_texts != dataset.source_texts
    assert same(first, second)


def test_a_teacher_that_was_killed_goes_on_to_the_same_weights(
    model_folder: Path,
    dataset: SteeringDataset,
    tmp_path: Path,
    kill_at_call: Callable[..., list[int]],
) -> None:
    whole, losses = tuned(model_folder, dataset, tmp_path / "whole")
    seen = kill_at_call(cross_encoder, "_logits", 8)
    with pytest.raises(KeyboardInterrupt):
        tuned(model_folder, dataset, tmp_path / "killed")
    again, all_losses = tuned(model_folder, dataset, tmp_path / "killed")
    assert same(whole, again)
    assert losses == all_losses
    assert len(seen) == 8 + len(losses) - 6  # six steps were on the disk


def test_scores_that_were_on_the_disk_are_not_made_again(
    model_folder: Path,
    dataset: SteeringDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at_call: Callable[..., list[int]],
) -> None:
    monkeypatch.setattr(cross_encoder, "_PAIRS_OF_PART", 7)
    model, questions = opened(model_folder).eval(), np.arange(10)
    sources = np.stack([questions, (questions + 1) % 10], axis=1)
    whole, _ = score_pairs(model, dataset, questions, sources, tmp_path / "whole")
    seen = kill_at_call(cross_encoder, "_logits", 2)
    with pytest.raises(KeyboardInterrupt):
        score_pairs(model, dataset, questions, sources, tmp_path / "killed")
    again, seconds = score_pairs(model, dataset, questions, sources, tmp_path / "killed")
    assert np.array_equal(whole, again)
    assert len(seen) == 2 + 2  # three parts, the first of which was there
    assert seconds > 0
    with torch.inference_mode():
        one = model([dataset.question_texts[3]], [dataset.source_texts[4]])
    assert whole[3, 1] == pytest.approx(one.item(), abs=1e-4)


def test_a_new_order_of_the_best_keeps_them_ahead_of_all_others(dataset: SteeringDataset) -> None:
    cosine, questions = fit_cosine(dataset, 0), dataset.queries("test")
    best = best_sources(cosine, dataset, questions, 5)
    scores = np.random.default_rng(0).normal(size=best.shape).astype(np.float32)
    lessons = Lessons(best[:0], scores[:0], questions, best, scores)
    unsteered = steering(dataset, questions, "none")
    everything = slice(0, len(questions))
    plain = method_scores(cosine, questions, unsteered)(everything)
    for row, ids in enumerate(best):
        assert np.array_equal(ids, np.argsort(-plain[row], kind="stable")[:5])
    found = method_scores(reranked(cosine, lessons, 1000.0), questions, unsteered)(everything)
    order = np.argsort(-found, axis=1, kind="stable")
    assert np.array_equal(order[:, :5], np.take_along_axis(best, np.argsort(-scores, axis=1), axis=1))
    assert np.array_equal(np.sort(order[:, 5:]), np.sort(np.argsort(-plain, axis=1, kind="stable")[:, 5:]))
    assert np.array_equal(method_scores(reranked(cosine, lessons, 0.0), questions, unsteered)(everything), plain)


def test_the_report_compares_what_is_distilled_with_the_default_and_the_soft_filter(
    model_folder: Path, dataset: SteeringDataset
) -> None:
    settings = settings_of(model_folder)
    rng = np.random.default_rng(0)
    distilled = distilled_methods(settings)
    simple = (COSINE, SOFT_FILTER, STEERED_ADAPTER, UNSTEERED_ADAPTER, "BM25")
    values = {
        name: {mode: {"reciprocal_rank": rng.random((1, 20))} for mode in (*MODES, *FILTERED)}
        for name in (*PREDICTORS, RESIDUAL, DEFAULT, DEFAULT_WITH_BM25, *FUSED, *simple, *distilled)
    }
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    found = DataFindings(settings, data, Scores(values, {}, np.arange(20), ()), {})
    *_, of_default, of_student = scorer_tables(found)
    assert {f"minus {name}" for name in distilled} <= {row[0] for row in of_default.rows}
    assert of_student.columns[0] == f"MRR of the {DISTILLED_WITH_BM25}"
    rows = {row[0]: row for row in of_student.rows}
    assert {f"minus {name}" for name in (DEFAULT, DEFAULT_WITH_BM25, SOFT_FILTER, distilled[0])} <= set(rows)
    gain = values[DISTILLED_WITH_BM25]["none"]["reciprocal_rank"] - values[SOFT_FILTER]["none"]["reciprocal_rank"]
    assert rows[f"minus {SOFT_FILTER}"][1].startswith(f"{gain.mean():+.3f}")
    off = replace(found, settings=settings_of(model_folder, distillation=Distillation()))
    assert len(scorer_tables(off)) == 2


def test_the_rows_are_off_unless_asked_for_and_need_a_model(model_folder: Path) -> None:
    assert distilled_methods(SteeringSettings()) == ()
    assert distilled_methods(settings_of(model_folder))[0] == "cross-encoder re-ranks 5"
    with pytest.raises(ValueError, match=r"distillation\.epochs needs an encoder with a model"):
        SteeringSettings(encoder=HASHING, distillation=CHOSEN)


def test_a_student_to_whom_the_teacher_counts_for_nothing_is_the_plain_adapter(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import experiments.steering.distillation as distillation

    settings = settings_of(model_folder)
    run, data = RunDirectory(tmp_path / "run", settings.identity()), Data("shop", dataset, 0, 0.3)
    unsteered = fit_unsteered(dataset, settings)
    monkeypatch.setattr(distillation, "_SHARES", (0.0,))
    student = distilled_method(settings, run, data, DISTILLED, 0, unsteered)
    questions = dataset.queries("test")
    unsteered_questions = steering(dataset, questions, "none")
    expected = unsteered(0).query_vectors(questions, unsteered_questions)
    assert np.array_equal(student.query_vectors(questions, unsteered_questions), expected)
    assert "taught" not in student.settings


def test_the_experiment_has_the_rows_and_reads_them_from_the_disk_at_a_second_start(
    model_folder: Path, dataset: SteeringDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = CHOSEN.model_copy(update={"epochs": 2, "seeds": 2})
    settings = settings_of(model_folder, seeds=(3, 4, 5), distillation=chosen)
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    unsteered = fit_unsteered(dataset, settings)
    run = RunDirectory(tmp_path / "run", settings.identity())
    first = score_distilled_stages(settings, run, data, lambda: fit_lexical_index(dataset), unsteered)
    assert tuple(first) == distilled_methods(settings)
    count = len(dataset.queries("test"))
    for rows in first.values():
        assert len(rows) == 2
        assert all(row[f"{mode}/reciprocal_rank"].shape == (count,) for row in rows for mode in (*MODES, *FILTERED))
    reordered = first["cross-encoder re-ranks 5"][0]
    assert np.array_equal(reordered["none/reciprocal_rank"], reordered["category/reciprocal_rank"])  # no steering
    plain = evaluate(unsteered(3), dataset, dataset.queries("test"), steering(dataset, dataset.queries("test"), "none"))
    assert np.array_equal(reordered["none/reciprocal_rank"] < 1 / 5, plain.reciprocal_rank < 1 / 5)

    def refused(*arguments: object, **named: object) -> None:
        raise AssertionError("a stage that is there was made again")

    monkeypatch.setattr(cross_encoder, "tune_cross_encoder", refused)
    monkeypatch.setattr(cross_encoder, "score_pairs", refused)
    second = score_distilled_stages(settings, run, data, lambda: fit_lexical_index(dataset), refused)  # ty: ignore[invalid-argument-type]
    for name, rows in first.items():
        for one, other in zip(rows, second[name], strict=True):
            assert all(np.array_equal(one[key], other[key]) for key in one)
    lessons = read_lessons(lessons_stages(settings, run, data, 3, refused))  # ty: ignore[invalid-argument-type]
    assert np.array_equal(lessons.candidates, hard_candidates(dataset, 4, 3))
    assert lessons.best.shape == (len(lessons.questions), 5)
    spent = np.mean([cross_encoder_seconds(run, "shop", seed) for seed in (3, 4)], axis=0)
    assert spent[0] > 0
    assert spent[1] >= 0
    (sentence,) = cost_of_distillation(run, DataFindings(settings, data, Scores({}, {}, np.arange(count), ()), {}))
    assert f"took {spent[0]:.0f} CPU seconds to tune, and its scores {spent[1]:.0f}." in sentence
    folder = run.stage_folder("2-training", "cross-encoder-shop-seed3")
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2]
