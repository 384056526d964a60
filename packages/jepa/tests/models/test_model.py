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


def made(kind: str, target: str = "frozen", encoder: str = "toy") -> JEPAModel:
    config = JEPAConfig.model_validate(
        {"model": kind, "target": target, "predictor": {"dimension": DIMENSION, "hidden_dimension": 4}}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        predictor = make_predictor(config, unit(1, 3), unit(2, 3))
        projection = SharedProjection(DIMENSION) if target == "projection" else None
        for module in (predictor, projection):
            for parameter in [] if module is None else module.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
    return JEPAModel(config, predictor, encoder=encoder, names=NAMES, projection=projection)


KINDS = [("plain", "frozen"), ("plain", "projection"), ("routed", "frozen")]
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
        f"| space | {'the encoder' if target == 'frozen' else 'a trained projection'}",
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
