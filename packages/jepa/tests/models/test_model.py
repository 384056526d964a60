from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from torch.nn.functional import normalize

from sightline.jepa import JEPAConfig, JEPAModel
from sightline.jepa.models.model import make_predictor
from sightline.jepa.models.projection import SharedProjection

COUNT, DIMENSION, NAMES = 6, 8, ("first", "second", "third")


def unit(seed: int, count: int = COUNT) -> torch.Tensor:
    return normalize(torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(seed)), dim=1)


def made(kind: str, target: str = "frozen", encoder: str = "toy", **changes: object) -> JEPAModel:
    predictor = {"dimension": DIMENSION, "hidden_dimension": 4}
    config = JEPAConfig.model_validate({"model": kind, "target": target, "predictor": predictor} | changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        predictor = make_predictor(config, unit(1, 3), unit(2, 3))
        projection = SharedProjection(DIMENSION) if target == "projection" else None
        for module in (predictor, projection):
            for parameter in [] if module is None else module.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
    return JEPAModel(config, predictor, encoder=encoder, names=NAMES, projection=projection)


KINDS = [("scorer", "frozen"), ("plain", "frozen"), ("plain", "projection"), ("routed", "frozen")]
INPUTS = (unit(3), unit(4), torch.arange(COUNT) % 2 == 0)


@pytest.mark.parametrize(("kind", "target"), KINDS)
def test_a_saved_model_predicts_and_indexes_the_same(tmp_path: Path, kind: str, target: str):
    model = made(kind, target)
    model.save_pretrained(tmp_path / "made")
    again = JEPAModel.from_pretrained(tmp_path / "made")
    assert (again.config, again.encoder, again.names) == (model.config, "toy", NAMES)
    for strength in (0.0, 1.0, 2.0):
        assert torch.equal(again.predict(*INPUTS, strength), model.predict(*INPUTS, strength))
    sources, category = unit(5, 9), torch.arange(9) % 3
    assert torch.equal(again.embed_index(sources, category), model.embed_index(sources, category))
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]


def test_the_parts_of_a_routed_prediction_make_up_the_query():
    model = made("routed")
    parts = model.decompose(*INPUTS, 1.5)
    assert torch.equal(parts.query, model.predict(*INPUTS, 1.5))
    torch.testing.assert_close(normalize(parts.coarse + parts.fine, dim=1), parts.query[:, :DIMENSION])
    forced = torch.eye(3)[torch.ones(COUNT, dtype=torch.int64)]
    assert torch.equal(model.decompose(*INPUTS, routing_weights=forced).routing_weights, forced)


def test_a_plain_model_has_no_parts():
    with pytest.raises(TypeError, match="routes nothing"):
        made("plain").decompose(*INPUTS)


@pytest.mark.parametrize(("kind", "target"), KINDS)
def test_the_card_tells_what_the_model_is_and_its_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, target: str
):
    folder = tmp_path / "path/to/this/folder"
    made(kind, target, encoder="a|b").save_pretrained(folder, {"none": 0.25, "category": 0.125})
    card = ModelCard.load(folder / "README.md")
    assert card.data.to_dict() == {"library_name": "sightline-jepa", "tags": ["retrieval", "steering", kind]}
    for row in (
        "| text encoder | a\\|b |",
        "| embedding | 8 |",
        "| subspaces | 3 |",
        f"| space | {'a trained' if kind == 'scorer' or target == 'projection' else 'the encoder'}",
        "| none | 0.2500 |\n| category | 0.1250 |",
        "| predictor.hidden_dimension | 4 |",
        "| training.seed | 0 |",
    ):
        assert row in card.text
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"sources": unit(5, 9), "category": torch.arange(9) % 3}
    names |= dict(zip(("questions", "steering", "has_steering"), INPUTS, strict=True))
    exec(card.text.split("```python\n")[1].split("```")[0], names)
    assert isinstance(names["scores"], torch.Tensor)
    assert names["scores"].shape == (COUNT, 9)


def test_without_figures_the_card_claims_none(tmp_path: Path):
    made("plain").save_pretrained(tmp_path)
    assert "MRR" not in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize(("kind", "target"), KINDS)
def test_vectors_of_other_types_and_lengths_mean_the_same(kind: str, target: str, dtype: torch.dtype):
    model = made(kind, target)
    question, steering, given = INPUTS
    found = model.predict((3 * question).to(dtype), (0.5 * steering).to(dtype), given)
    torch.testing.assert_close(found, model.predict(*INPUTS), atol=5e-3, rtol=5e-2)
    sources, category = unit(5, 9), torch.arange(9) % 3
    index = model.embed_index((7 * sources).to(dtype), category)
    torch.testing.assert_close(index, model.embed_index(sources, category), atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize(("kind", "target"), KINDS)
def test_one_question_is_asked_without_an_axis_for_it(kind: str, target: str):
    model = made(kind, target)
    question, steering, given = INPUTS
    for at in (0, 1):
        found = model.predict(question[at], steering[at], given[at])
        torch.testing.assert_close(found, model.predict(*INPUTS)[at])


def test_what_makes_no_sense_is_refused_in_words():
    model = made("scorer")
    question, steering, given = INPUTS
    empty = torch.where((torch.arange(COUNT) == 2)[:, None], 0.0, question)
    with pytest.raises(ValueError, match="question, row 2: all zeros"):
        model.predict(empty, steering, given)
    with pytest.raises(ValueError, match="steering, row 2: all zeros"):
        model.predict(question, torch.where(empty == 0, 0.0, steering), given)
    with pytest.raises(ValueError, match=r"question must have shape \[n, 8\]"):
        model.predict(question[:, :5], steering, given)
    with pytest.raises(ValueError, match="as many rows of steering"):
        model.predict(question, steering[:2], given)
    with pytest.raises(ValueError, match="has_steering must be bool"):
        model.predict(question, steering, given.float())
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"category {wrong} is none of the model's 0 to 2.*with_categories"):
            model.embed_index(question, torch.tensor([0, 1, 2, wrong, 0, 0]))
    with pytest.raises(ValueError, match="category must be int64"):
        model.embed_index(question, torch.zeros(COUNT))


@pytest.mark.parametrize(("kind", "target"), KINDS)
def test_candidates_of_each_question_are_scored_as_those_of_an_index(kind: str, target: str):
    model = made(kind, target)
    sources, category = unit(5, 9), torch.arange(9) % 3
    expected = model.predict(*INPUTS) @ model.embed_index(sources, category).T
    torch.testing.assert_close(model.score(*INPUTS, sources, category), expected)
    columns = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(at))[:4] for at in range(COUNT)])
    own = model.score(*INPUTS, sources[columns], category[columns])
    torch.testing.assert_close(own, expected.gather(1, columns))
    mask = torch.arange(4) < torch.arange(COUNT)[:, None]
    spoilt = torch.where(mask[..., None], sources[columns], 0.0)  # places without a candidate may hold anything
    found = model.score(*INPUTS, spoilt, torch.where(mask, category[columns], 99), mask=mask)
    torch.testing.assert_close(found, own.masked_fill(~mask, -torch.inf))
    shared = model.score(*INPUTS, sources[:4], category[:4], mask=mask)
    torch.testing.assert_close(shared, expected[:, :4].masked_fill(~mask, -torch.inf))


def test_candidates_that_do_not_fit_are_refused():
    model, sources = made("scorer"), unit(5, 9)
    with pytest.raises(ValueError, match=r"candidates must be \[N, D\]"):
        model.score(*INPUTS, sources.expand(2, 9, 8), torch.zeros(2, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match="as many categories"):
        model.score(*INPUTS, sources, torch.zeros(8, dtype=torch.int64))
    with pytest.raises(ValueError, match="a mask"):
        model.score(*INPUTS, sources, torch.zeros(9, dtype=torch.int64), mask=torch.ones(9, dtype=torch.bool))


def test_a_scorer_takes_categories_that_training_has_not_seen(tmp_path: Path):
    model = made("scorer")
    names, descriptions = ("second", "new"), torch.stack([unit(2, 3)[1], 5 * unit(9, 1)[0]])
    wider = model.with_categories(names, descriptions)
    found = wider.filter(*INPUTS)
    assert found.prior.shape == (COUNT, 2)
    assert torch.equal(found.query, wider.predict(*INPUTS))
    torch.testing.assert_close(found.prediction, model.filter(*INPUTS).prediction)
    wider.save_pretrained(tmp_path)
    again = JEPAModel.from_pretrained(tmp_path)
    assert again.names == names
    assert torch.equal(again.predict(*INPUTS), wider.predict(*INPUTS))
    assert model.names == NAMES
    with pytest.raises(ValueError, match="2 names need as many"):
        model.with_categories(names, descriptions[:1])
    for kind in ("plain", "routed"):
        with pytest.raises(TypeError, match="train a scorer"):
            made(kind).with_categories(names, descriptions)
        with pytest.raises(TypeError, match="no scorer"):
            made(kind).filter(*INPUTS)


def test_a_scorer_takes_steering_of_another_width(tmp_path: Path):
    model = made("scorer", scorer={"steering_dimension": 5})
    question, _, given = INPUTS
    states = torch.randn(COUNT, 5, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path)
    assert torch.equal(
        JEPAModel.from_pretrained(tmp_path).predict(question, states, given), model.predict(question, states, given)
    )
    with pytest.raises(ValueError, match=r"steering must have shape \[n, 5\]"):
        model.predict(*INPUTS)
