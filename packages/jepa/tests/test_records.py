from __future__ import annotations

import importlib
import pkgutil
from dataclasses import is_dataclass
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import sightline.jepa
from sightline.jepa import JEPAConfig
from sightline.jepa.explaining import Calibrator

TYPES: list[Any] = [
    value
    for module in pkgutil.walk_packages(sightline.jepa.__path__, "sightline.jepa.")
    for value in vars(importlib.import_module(module.name)).values()
    if isinstance(value, type) and value.__module__ == module.name
]
RECORDS = sorted((value for value in TYPES if issubclass(value, BaseModel)), key=lambda record: record.__qualname__)
DATACLASSES = {value.__qualname__: value for value in TYPES if is_dataclass(value)}
WITH_NAN = {"EpochRecord", "CheckpointState"}
"""What tells of a training that went wrong must be able to say so."""


def test_the_records_of_the_package_are_found():
    names = {record.__name__ for record in RECORDS}
    assert names >= {*WITH_NAN, "JEPAConfig", "ModelManifest", "AnswerPolicy", "Calibrator", "Threshold", "Explanation"}


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_frozen_knows_all_its_fields_and_keeps_its_numbers_in_json(record: type[BaseModel]):
    config = record.model_config
    assert (config.get("frozen"), config.get("extra")) == (True, "forbid")
    if record.__name__ in WITH_NAN:
        assert config.get("ser_json_inf_nan") == "constants"
    else:
        assert config.get("allow_inf_nan") is False


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_of_a_record_says_what_it_is(record: type[BaseModel]):
    assert [name for name, field in record.model_fields.items() if not field.description] == []


def test_what_modules_pass_to_each_other_is_frozen_too():
    assert len(DATACLASSES) > 20
    assert [name for name, value in DATACLASSES.items() if not value.__dataclass_params__.frozen] == []


CALIBRATOR = Calibrator(features=("a",), means=(0.0,), scales=(1.0,), coefficients=(1.0,), intercept=0.0)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["means", "scales", "coefficients", "intercept"])
def test_a_calibrator_holds_no_number_that_makes_no_probability(field: str, number: float):
    changed = CALIBRATOR.model_dump() | {field: number if field == "intercept" else (number,)}
    with pytest.raises(ValidationError, match=field):
        Calibrator.model_validate(changed)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(CALIBRATOR, field, getattr(CALIBRATOR, field))


@pytest.mark.parametrize("section", [name for name, value in JEPAConfig() if isinstance(value, BaseModel)])
def test_no_setting_is_infinite(section: str):
    settings = getattr(JEPAConfig(), section)
    for name, value in settings:
        if isinstance(value, float):
            with pytest.raises(ValidationError, match=name):
                type(settings).model_validate({name: float("inf")})
