from __future__ import annotations

import math

import pytest
from pydantic import BaseModel, ValidationError

from sightline.retrieval import RetrieverConfig, RetrieverTrainingConfig


def training_config(**settings: object) -> RetrieverTrainingConfig:
    return RetrieverTrainingConfig.model_validate({"train_query_proj_only": False, **settings})


RECORDS = [RetrieverConfig(condition_dim=4), RetrieverTrainingConfig()]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_cannot_be_changed(record: BaseModel):
    for field in type(record).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, field, getattr(record, field))


@pytest.mark.parametrize("record", RECORDS)
def test_an_unknown_field_is_refused(record: BaseModel):
    with pytest.raises(ValidationError, match="forbidden"):
        type(record).model_validate({**record.model_dump(), "unknown": 1})


@pytest.mark.parametrize("number", [math.inf, math.nan])
@pytest.mark.parametrize(
    "field", [name for name, field in RetrieverTrainingConfig.model_fields.items() if field.annotation is float]
)
def test_a_number_that_is_not_finite_is_refused(field: str, number: float):
    with pytest.raises(ValidationError, match=field):
        training_config(**{field: number})


LEAST = {
    **dict.fromkeys(("num_negatives", "top_k", "epochs", "batch_size"), 1),
    **dict.fromkeys(("margin", "in_batch_weight", "importance_weight", "weight_decay", "seed"), 0),
    **dict.fromkeys(("false_negative_cosine", "temperature", "learning_rate"), 1e-9),
}


@pytest.mark.parametrize(("field", "least"), LEAST.items())
def test_the_least_value_of_a_setting_is_taken_and_less_is_refused(field: str, least: float):
    assert getattr(training_config(**{field: least}), field) == least
    with pytest.raises(ValidationError, match=field):
        training_config(**{field: least - 1})


def test_a_cosine_above_one_is_refused():
    assert RetrieverTrainingConfig(false_negative_cosine=1.0).false_negative_cosine == 1.0
    with pytest.raises(ValidationError, match="false_negative_cosine"):
        RetrieverTrainingConfig(false_negative_cosine=1.001)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match="in_batch_weight needs loss 'info_nce'"):
        RetrieverTrainingConfig(loss="margin", in_batch_weight=0.5)
    with pytest.raises(ValidationError, match="set train_query_proj_only to False"):
        RetrieverTrainingConfig(importance_weight=0.5)


def test_the_settings_that_a_run_gets_when_it_names_none_stay_what_they_are():
    assert RetrieverTrainingConfig().model_dump() == {
        "num_negatives": 16,
        "margin": 0.2,
        "top_k": 5,
        "freeze_state_model": True,
        "train_query_proj_only": True,
        "loss": "info_nce",
        "temperature": 0.05,
        "in_batch_weight": 0.0,
        "false_negative_cosine": 0.95,
        "importance_weight": 0.0,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "epochs": 10,
        "batch_size": 128,
        "seed": 0,
    }
    assert RetrieverConfig(condition_dim=4).model_dump() == {
        "schema_version": 1,
        "condition_dim": 4,
        "chunk_dim": 384,
        "hidden_dim": None,
        "importance": True,
        "text_encoder": None,
        "page_width": None,
    }
