from __future__ import annotations

import importlib
import pkgutil
from dataclasses import is_dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import sightline.retrieval

TYPES: list[Any] = [
    value
    for module in pkgutil.walk_packages(sightline.retrieval.__path__, "sightline.retrieval.")
    for value in vars(importlib.import_module(module.name)).values()
    if isinstance(value, type) and value.__module__ == module.name
]
OTHERS = {"LlamaIndexStore"}
"""What is a pydantic model because another library's base class is one."""
RECORDS = sorted(
    (value for value in TYPES if issubclass(value, BaseModel) and value.__name__ not in OTHERS),
    key=lambda record: record.__qualname__,
)
FOREIGN = {"_Text": "ignore"}
"""Lines of files that others write, in which fields beside ours are left alone."""
DATACLASSES = {value.__qualname__: value for value in TYPES if is_dataclass(value)}


def test_the_records_of_the_package_are_found():
    assert {record.__name__ for record in RECORDS} >= {
        "ChunkingConfig",
        "Document",
        "RetrievalExample",
        "RetrieverConfig",
        "RetrieverTrainingConfig",
    }


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_frozen_knows_all_its_fields_and_holds_no_number_that_json_has_not(record: type[BaseModel]):
    config = record.model_config
    assert (config.get("frozen"), config.get("extra"), config.get("allow_inf_nan")) == (
        True,
        FOREIGN.get(record.__name__, "forbid"),
        False,
    )


def test_what_modules_pass_to_each_other_is_frozen_too():
    assert len(DATACLASSES) > 10
    assert [name for name, value in DATACLASSES.items() if not value.__dataclass_params__.frozen] == []


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_of_a_record_says_what_it_is(record: type[BaseModel]):
    undescribed = [name for name, field in record.model_fields.items() if not field.description]
    assert undescribed in ([], ["schema_version"])
