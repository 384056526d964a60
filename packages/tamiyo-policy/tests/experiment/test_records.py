from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from sightline.tamiyo_policy.experiment.records import EVALUATION_SEED, TRAINING_SEEDS, GrowthRecord, episodes_from

WRITTEN = (
    '{"family":"B","seed":7,"score":81.25,"accuracy":90.0,"parameters":528.0,"test_score":80.5,"test_accuracy":89.25,'
    '"total_reward":0.5,"rollbacks":1,"operations":{"wait":3,"germinate":1},"topology":[10,0,4],'
    '"stages":["1234","1111","1233"]}'
)
"""A record as it stands in files of earlier runs."""


def test_evaluation_episodes_take_turns_and_training_never_meets_them():
    drawn = episodes_from(EVALUATION_SEED, 5, "AB")
    assert [episode.family for episode in drawn] == list("ABABA")
    assert len({episode.seed for episode in drawn}) == 5
    assert min(episode.seed for episode in drawn) >= TRAINING_SEEDS


def test_a_record_is_written_as_it_always_was():
    record = GrowthRecord.model_validate_json(WRITTEN)
    assert record.model_dump_json() == WRITTEN
    assert record.topology == (10, 0, 4)


def test_a_record_is_neither_changed_nor_given_what_it_does_not_have():
    record = GrowthRecord.model_validate_json(WRITTEN)
    with pytest.raises(ValidationError, match="frozen"):
        record.score = 1.0  # ty: ignore[invalid-assignment] - the fault under test
    with pytest.raises(ValidationError, match="extra"):
        GrowthRecord.model_validate({**json.loads(WRITTEN), "luck": 1})
