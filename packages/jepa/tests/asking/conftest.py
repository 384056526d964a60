from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.jepa import JEPAConfig, SteeringDataset, Trainer, build_dataset
from sightline.jepa.asking import Answerer, HashedTermsEncoder
from sightline.jepa.data import SteeringTexts
from sightline.jepa.models.model import JEPAModel, make_predictor

AREAS = ("billing", "shipping", "account")
_VERBS = {
    "alter": "change",
    "stop": "cancel",
    "verify": "confirm",
    "locate": "find",
    "output": "print",
    "remove": "delete",
}
_THINGS = {
    "billing": ["invoice", "tax", "refund", "receipt", "price", "coupon"],
    "shipping": ["parcel", "box", "courier", "route", "pallet", "customs"],
    "account": ["password", "login", "avatar", "theme", "badge", "token"],
}
_SHARED = ["address", "name", "date"]


@pytest.fixture(scope="session")
def help_centre() -> SteeringTexts:
    """Questions that use other words than the sources, some of which have an answer in every area."""
    rows = [
        (area, asked, written, thing)
        for area in AREAS
        for asked, written in _VERBS.items()
        for thing in _THINGS[area] + _SHARED
    ]
    area_of = np.array([AREAS.index(area) for area, *_ in rows])
    return SteeringTexts(
        questions=tuple(f"how do I {asked} the {thing}" for _, asked, _, thing in rows),
        sources=tuple(f"{area}: to {written} the {thing}, open {area} settings" for area, _, written, thing in rows),
        pairs=np.stack([np.arange(len(rows))] * 2, axis=1),
        question_category=area_of,
        source_category=area_of,
        names=AREAS,
        descriptions=AREAS,
        keywords=tuple(area if row % 3 else "" for row, (area, *_) in enumerate(rows)),
    )


@pytest.fixture(scope="session")
def encoder() -> HashedTermsEncoder:
    return HashedTermsEncoder(64)


@pytest.fixture(scope="session")
def dataset(help_centre: SteeringTexts, encoder: HashedTermsEncoder) -> SteeringDataset:
    return build_dataset(help_centre, encoder.encode, encoder=encoder.name, fractions=(0.5, 0.3, 0.2))


@pytest.fixture(scope="session", params=["scorer", "plain", "routed"])
def model(request: pytest.FixtureRequest, dataset: SteeringDataset) -> JEPAModel:
    config = JEPAConfig.model_validate(
        {
            "model": request.param,
            "predictor": {"dimension": 64, "hidden_dimension": 16},
            "training": {"epochs": 3, "batch_size": 16, "warmup_epochs": 1},
        }
    )
    trainer = Trainer(config, dataset)
    trainer.fit()
    return trainer.model


@pytest.fixture(scope="session")
def fitted(model: JEPAModel, dataset: SteeringDataset, encoder: HashedTermsEncoder) -> Answerer:
    ids = [f"page-{number}" for number in range(len(dataset.sources))]
    return Answerer.fit(model, dataset, encoder, descriptions=AREAS, source_ids=ids)


@pytest.fixture(scope="session")
def folder(fitted: Answerer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written answerer that no test changes."""
    path = tmp_path_factory.mktemp("answerer")
    fitted.save_pretrained(path)
    return path


@pytest.fixture
def answerer(folder: Path, encoder: HashedTermsEncoder) -> Answerer:
    return Answerer.from_pretrained(folder, encoder)


@pytest.fixture(scope="session")
def worded_dataset(help_centre: SteeringTexts, encoder: HashedTermsEncoder) -> SteeringDataset:
    """The same help centre, in which every question and its source have a word that no other source has."""
    texts = replace(
        help_centre,
        questions=tuple(f"{text} ticket{row}" for row, text in enumerate(help_centre.questions)),
        sources=tuple(f"{text} ticket{row}" for row, text in enumerate(help_centre.sources)),
    )
    return build_dataset(texts, encoder.encode, encoder=encoder.name, fractions=(0.5, 0.3, 0.2))


def untrained(config: JEPAConfig, dataset: SteeringDataset) -> JEPAModel:
    vectors = (torch.from_numpy(np.array(rows)) for rows in (dataset.centroids, dataset.category_vectors))
    return JEPAModel(config, make_predictor(config, *vectors), encoder=dataset.encoder, names=dataset.names)


@pytest.fixture(scope="session")
def worded_folder(
    worded_dataset: SteeringDataset, encoder: HashedTermsEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A written answerer of an untrained scorer that counts shared words, which no test changes."""
    config = JEPAConfig.model_validate({"predictor": {"dimension": 64, "hidden_dimension": 16}})
    path = tmp_path_factory.mktemp("worded")
    Answerer.fit(untrained(config, worded_dataset), worded_dataset, encoder).save_pretrained(path)
    return path


@pytest.fixture
def worded(worded_folder: Path, encoder: HashedTermsEncoder) -> Answerer:
    return Answerer.from_pretrained(worded_folder, encoder)
