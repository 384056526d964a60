"""The experiment with steered predictors: its data, and what is claimed of its findings."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from experiments.steering.data import Data, some_services
from experiments.steering.findings import DataFindings
from experiments.steering.methods import (
    ABLATIONS,
    DEFAULT_WITH_BM25,
    PLAIN,
    PREDICTORS,
    RANKED,
    RESIDUAL,
    ROUTED,
    SCORER,
    STAGED,
    Scores,
    add_default,
    configuration,
    trained_models,
)
from experiments.steering.overview import HARD_FILTER, QUALITIES, overview_section
from experiments.steering.report import answer
from experiments.steering.settings import SteeringSettings
from experiments.steering.shop_texts import COUNTERFACTUAL, counterfactuals, page_text, satisfies, shop_texts
from lab.run import RunDirectory
from sightline.jepa import JEPAConfig, JEPAModel, SteeredPredictor, SteeringDataset, build_dataset, load_documentation
from sightline.jepa.data import SteeringTexts
from sightline.webshop_env import Catalogue, Shop, build_goals

MODES = {"none", "category", "keywords", "unreliable", "filter, category", "filter, unreliable"}


@pytest.fixture(scope="module")
def texts() -> SteeringTexts:
    return shop_texts(products=200, instructions=2, seed=3)


@pytest.fixture(scope="module")
def dataset(texts: SteeringTexts) -> SteeringDataset:
    rng = np.random.default_rng(0)
    return build_dataset(texts, lambda given: rng.normal(size=(len(given), 16)), encoder="random")


def test_counterfactual_questions_have_the_same_words_and_other_answers(texts: SteeringTexts) -> None:
    answers: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for question, source in texts.pairs:
        if texts.questions[question].startswith(COUNTERFACTUAL):
            answers[texts.questions[question]][int(texts.question_category[question])].add(int(source))
    assert len(answers) >= 10
    for by_category in answers.values():
        assert len(by_category) >= 2
        found = [source for sources in by_category.values() for source in sources]
        assert len(found) == len(set(found))
        assert all(
            texts.source_category[source] == category for category, sources in by_category.items() for source in sources
        )


def test_a_counterfactual_question_is_answered_by_every_product_that_has_its_attributes() -> None:
    products = list(Catalogue.generate(products=200, seed=3))
    for question, category, keywords, asins in counterfactuals(products, 3):
        first, second = keywords.split(", ")
        assert question.endswith(f"{first} and {second}")
        having = {p.asin for p in products if p.query == category and {first, second} <= set(p.attributes)}
        assert set(asins) == having


def test_an_instruction_is_asked_only_if_no_other_product_of_its_kind_satisfies_it(texts: SteeringTexts) -> None:
    catalogue = Catalogue.generate(products=200, seed=3)
    goals = build_goals(catalogue, "human", seed=3).goals
    asked = {(texts.questions[number], texts.names[kind]) for number, kind in enumerate(texts.question_category)}
    unclear = 0
    for goal in goals:
        assert satisfies(catalogue[goal.asin], goal)
        others = [product for product in catalogue if product.query == goal.query and product.asin != goal.asin]
        if any(satisfies(product, goal) for product in others):
            unclear += 1
            assert (goal.instruction_text, goal.query) not in asked
    assert 0 < unclear < len(goals)


def test_the_text_of_a_product_is_what_its_pages_say_and_not_the_instruction() -> None:
    catalogue = Catalogue.generate(products=100, seed=3)
    shop = Shop(catalogue, build_goals(catalogue, "human", seed=3))
    product = catalogue[7]
    text = page_text(shop, product.asin)
    assert text.startswith(product.title)
    assert all(" ".join(bullet.split()) in text for bullet in product.bullets)
    assert shop.goals.goals[0].instruction_text not in text


def test_some_services_keeps_whole_services_with_their_questions() -> None:
    whole = load_documentation(max_characters=150)
    some = some_services(whole, 60)
    assert 0 < len(some.sources) <= 60
    for name in some.names:
        number, before = some.names.index(name), whole.names.index(name)
        for part in ("sources", "questions"):
            category = f"{part[:-1]}_category"
            now = [getattr(some, part)[row] for row in np.flatnonzero(getattr(some, category) == number)]
            then = [getattr(whole, part)[row] for row in np.flatnonzero(getattr(whole, category) == before)]
            assert now == then
    pairs = {(some.questions[q], some.sources[s]) for q, s in some.pairs}
    assert pairs <= {(whole.questions[q], whole.sources[s]) for q, s in whole.pairs}


def test_unreliable_categories_are_wrong_or_missing_half_and_half(dataset: SteeringDataset) -> None:
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    asked, own = data.ask("train", "unreliable"), dataset.question_category[dataset.queries("train")]
    changed, missing = asked.categories != own, asked.categories == -1
    assert 0.22 < changed.mean() < 0.38
    assert 0.35 < missing.sum() / changed.sum() < 0.65
    assert np.array_equal(asked.steering.has_steering, ~missing)


def test_questions_of_one_group_are_never_in_two_splits(dataset: SteeringDataset) -> None:
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    splits = ("train", "validation", "test")
    train, validation, test = (set(data.groups(dataset.queries(split)).tolist()) for split in splits)
    assert not (train & validation)
    assert not (train & test)
    assert not (validation & test)


@pytest.mark.parametrize(("gain", "met"), [(0.1, True), (0.01, False), (-0.1, False)])
def test_a_gain_over_the_adapter_is_claimed_only_where_it_is_there(gain: float, *, met: bool) -> None:
    claims = _findings(gain=gain).claims()
    assert [claim.met for claim in claims if claim.aim.startswith("with given steering")] == [met] * 4


def test_a_training_seed_that_loses_to_cosine_without_steering_fails_the_aim() -> None:
    claims = _findings(gain=0.1, worst_seed=-0.02).claims()
    assert [claim.met for claim in claims if claim.aim.startswith("without steering")] == [False] * 4


def test_what_is_recommended_is_the_best_on_validation_for_each_kind_of_steering() -> None:
    better, equal = (_findings(gain=gain).recommendation() for gain in (0.1, 0.0))
    assert "meet every aim of ranking" in better
    assert "no model meets every aim of ranking" in equal
    for text in (better, equal):
        assert "given and right 'adapter, unsteered behind a hard filter'" in text
        assert "where they are unreliable 'predictor'" in text
        assert "without steering 'predictor'" in text  # by however little
        assert "The default is the scorer in two stages with 1 of 2 training seeds" in text
        assert "with keywords 'default with BM25'" in text  # it is like others; a part of an ablation is no method


@pytest.mark.parametrize(("gain", "models"), [(0.1, "the scorer, the predictor"), (0.0, "no model")])
def test_the_answer_counts_the_aims_of_all_data_sets_and_how_often_the_default_is_preferred(
    gain: float, models: str
) -> None:
    found = _findings(gain=gain)
    text = answer([found, found])
    assert f"is met on shop, shop by {models}" in text
    assert "Of 8 pairs of data and steering, validation prefers the default with BM25 in 2;" in text


def test_where_an_encoder_was_tuned_what_an_answerer_ranks_by_may_have_it() -> None:
    found = _findings(gain=0.1)
    plain, tuned = "default with BM25", "default with tuning and BM25"
    scores = replace(
        found.scores,
        values={**found.scores.values, tuned: found.scores.values[plain]},
        validation={**found.scores.validation, tuned: found.scores.validation[plain]},
        tuned=(True,),
    )
    text = answer([replace(found, scores=scores)])
    assert f"validation prefers the {tuned} in 1;" in text  # it is first among equals, as the other is without tuning


def test_a_model_of_an_ablation_differs_in_what_its_name_says_alone(dataset: SteeringDataset, tmp_path: Path) -> None:
    settings = SteeringSettings(negatives="auto", seeds=(0, 1))
    run = RunDirectory(tmp_path, settings.identity())
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    first = configuration(settings, run, data, PLAIN, 0)
    assert first.loss.negatives == "auto"
    settled = JEPAConfig.model_validate(first.model_dump() | {"loss": {"negatives": "corpus"}})
    folder = run.stage_folder("2-training", f"{PLAIN}-shop-seed0") / "model"
    JEPAModel(settled, SteeredPredictor(settled.predictor), encoder="random", names=dataset.names).save_pretrained(
        folder
    )
    for name, changes in ABLATIONS.items():
        found = configuration(settings, run, data, f"{PLAIN}, {name}", 1).model_dump()
        expected = configuration(settings, run, data, PLAIN, 1).model_dump()
        assert expected["loss"]["negatives"] == "corpus"
        for section, values in changes.items():
            expected[section] = expected[section] | values if isinstance(values, dict) else values
        assert found == expected
    assert set(trained_models(settings)) == {
        SCORER,
        PLAIN,
        ROUTED,
        RESIDUAL,
        *(f"{PLAIN}, {each}" for each in ABLATIONS),
    }


def test_the_default_is_what_validation_prefers_with_each_seed() -> None:
    def row(score: float, keywords: float = 0.0) -> dict[str, np.ndarray]:
        modes = {"none": score, "category": score, "unreliable": score, "keywords": keywords}
        return {f"validation/{mode}": np.array(value) for mode, value in modes.items()}

    found = {SCORER: [row(0.5), row(0.4), row(0.4)], "adapter, soft filter": [row(0.4), row(0.5), row(0.4, keywords=1)]}
    found |= {f"{name} with BM25": [row(0.0) for _ in rows] for name, rows in found.items()}
    assert add_default(found) == [SCORER, STAGED, SCORER]  # the first of equals; training does not look at keywords
    for added in ("", " with BM25"):
        expected = [SCORER, "adapter, soft filter", SCORER]
        for seed, (default, name) in enumerate(zip(found[f"default{added}"], expected, strict=True)):
            assert default is found[name + added][seed]


def test_nothing_trusted_is_an_aim_that_is_not_met() -> None:
    trusted, nothing = (
        [claim.met for claim in _findings(gain=0.1, trusted=count).claims() if claim.aim.startswith("TRUST")]
        for count in (30, 0)
    )
    assert (trusted, nothing) == ([True] * 4, [False] * 4)


def test_a_category_that_is_the_answers_own_is_called_an_oracle(dataset: SteeringDataset) -> None:
    data = Data("shop", dataset, seed=0, unreliable_share=0.3)
    assert data.is_oracle
    assert [data.label_of(mode) for mode in ("none", "category")] == ["none", "category (oracle)"]
    wrong = np.array(dataset.question_category)
    wrong[dataset.pairs[0, 0]] = (wrong[dataset.pairs[0, 0]] + 1) % len(dataset.names)
    honest = replace(data, dataset=replace(dataset, question_category=wrong))
    assert honest.label_of("category") == "category"


def test_the_first_screen_names_the_best_method_of_every_kind_of_steering(tmp_path: Path) -> None:
    found = _findings(gain=0.1)
    filtered = cast("dict[str, object]", found.scores.values["adapter, unsteered"])
    filtered["filter, category"] = {"reciprocal_rank": np.full((2, 60), 0.95)}
    section = overview_section(tmp_path, [found, found])
    (table,) = section.tables
    assert len(table.rows) == 2 * len(QUALITIES)
    by_mode = {row[1]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    best = {mode: row["best on test"] for mode, row in by_mode.items()}
    assert best["category (oracle)"] == HARD_FILTER
    assert by_mode["category (oracle)"]["best on validation"] == "adapter, unsteered behind a hard filter"
    assert by_mode["none"]["best on validation"] == "predictor"
    assert best["keywords"] in RANKED
    assert not any("SigReg" in name for name in best.values())
    assert by_mode["none"][HARD_FILTER] == ""
    assert by_mode["category (oracle)"][HARD_FILTER] == "0.950"
    assert "oracle" in section.paragraphs[0]
    assert section.figures[0].read_text().startswith("<?xml")


def test_the_best_other_method_may_search_behind_a_hard_filter_and_is_no_part_of_an_ablation() -> None:
    found = _findings(gain=0.1)
    values = cast("dict[str, dict[str, dict[str, np.ndarray]]]", found.scores.values)
    values[f"{PLAIN}, with SIGReg"] = {mode: {"reciprocal_rank": np.full((2, 60), 0.99)} for mode in MODES}
    values["adapter, unsteered"]["filter, category"] = {"reciprocal_rank": np.full((2, 60), 0.95)}
    name, gain = found.best_other(DEFAULT_WITH_BM25, "category")
    assert name == "adapter, unsteered behind a hard filter"
    assert gain.value == pytest.approx(found.scores.of(DEFAULT_WITH_BM25, "category").mean() - 0.95)
    assert found.best_other(DEFAULT_WITH_BM25, "keywords")[0] in PREDICTORS


def _findings(*, gain: float, worst_seed: float = 0.0, trusted: int = 30) -> DataFindings:
    """Hand-made scores: predictors that gain so much over every baseline, and baselines that are all alike."""
    base = np.random.default_rng(0).uniform(0.3, 0.6, size=(2, 60))
    predictor = base + gain
    without = base + np.array([[worst_seed], [0.0]])
    names = ("cosine", "adapter, steered", "adapter, unsteered")
    values = {name: {mode: {"reciprocal_rank": base} for mode in MODES} for name in names}
    for name in RANKED:
        values[name] = {mode: {"reciprocal_rank": predictor} for mode in MODES}
        values[name]["none"] = {"reciprocal_rank": without}
    explained = {
        "calibration_error": 0.03,
        "error_by_chance_at_least": 0.02,
        "error_by_chance_at_most": 0.03,
        "of_all": {"calibration_error": 0.02, "error_by_chance_at_least": 0.01, "error_by_chance_at_most": 0.02},
        "trusted_right": [1] * trusted,
        "trusted_groups": list(range(trusted)),
        "questions": 60,
    }
    named = {"category": "category (oracle)"}
    data = cast("Data", SimpleNamespace(name="shop", is_oracle=True, label_of=lambda mode: named.get(mode, mode)))
    validation = {name: dict.fromkeys(MODES, 0.5) for name in values}
    validation["adapter, unsteered"]["filter, category"] = 0.9
    validation["predictor"] |= {"unreliable": 0.8, "none": 0.51}
    validation[f"{PLAIN}, with SIGReg"] = dict.fromkeys(MODES, 0.6)
    scores = Scores(values, validation, np.arange(60), [STAGED, SCORER])
    settings = SteeringSettings()
    return DataFindings(settings, data, scores, {key: [explained, explained] for key in RANKED})
