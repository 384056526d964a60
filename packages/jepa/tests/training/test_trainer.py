from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sightline.jepa import JEPAConfig, JEPAModel, SteeringDataset, Trainer, mine_negatives
from sightline.jepa.training import CheckpointError, read_history
from sightline.jepa.training.trainer import candidates

TRAINING = {"epochs": 4, "batch_size": 48, "learning_rate": 0.02, "warmup_epochs": 1, "checkpoint_epochs": 1}


def config(**changes: Any) -> JEPAConfig:
    values = {"predictor": {"dimension": 16, "hidden_dimension": 8}, "training": TRAINING}
    return JEPAConfig.model_validate(values | {"scorer": {"filter": "joint"}} | changes)


def without_time(history: Any) -> list[Any]:
    return [record.model_copy(update={"seconds": 0.0}) for record in history]


def test_what_is_left_open_becomes_one_candidate_for_each_way_of_settling_it():
    settled = candidates(config(scorer={"residual": "auto", "filter": "joint"}, loss={"num_negatives": 4}))
    assert {(each.loss.negatives, each.scorer.residual, each.loss.num_negatives) for each in settled.values()} == {
        ("batch", "none", 4),
        ("batch", "plain", 4),
        ("corpus", "none", 0),
        ("corpus", "plain", 0),
    }
    assert list(candidates(config(loss={"negatives": "corpus_all"}))) == [""]
    assert len(candidates(config(model="plain", scorer={"residual": "auto"}))) == 2


def test_two_stages_are_one_candidate_more_where_the_scorer_allows_them():
    settled = candidates(config(scorer={}))
    assert {name: each.scorer.filter for name, each in settled.items()} == {
        "negatives-batch-residual-none": "joint",
        "negatives-corpus-residual-none": "joint",
        "staged": "staged",
    }
    assert candidates(config(scorer={"residual": "auto"}))["staged"].scorer.residual == "none"
    assert [each.scorer.filter for each in candidates(config(scorer={"filter": "staged"})).values()] == ["staged"]
    assert "staged" not in candidates(config(scorer={"residual": "plain"}))
    assert "staged" not in candidates(config(scorer={"steering_dimension": 4}))
    assert "staged" not in candidates(config(model="routed", scorer={}))
    with pytest.raises(ValidationError, match="set 'joint'"):
        config(scorer={"residual": "plain", "filter": "staged"})


def test_validation_chooses_between_joint_training_and_two_stages(tmp_path: Path, toy_dataset: SteeringDataset):
    # 96 pairs are too few for the adapter's slow steps; a learning rate near zero is too low for joint training.
    for rate, better in ((0.02, "joint"), (1e-9, "staged")):
        open_config = config(
            scorer={}, loss={"negatives": "corpus"}, training=TRAINING | {"learning_rate": rate, "epochs": 8}
        )
        trainer = Trainer(open_config, toy_dataset, folder=tmp_path / better)
        result = trainer.fit()
        alone = {}
        for name in ("joint", "staged"):
            settled = open_config.model_copy(update={"scorer": open_config.scorer.model_copy(update={"filter": name})})
            alone[name] = Trainer(settled, toy_dataset).fit().best_score
        assert max(alone, key=lambda name: alone[name]) == better
        assert result.candidates == {"negatives-corpus-residual-none": alone["joint"], "staged": alone["staged"]}
        assert result.best_score == result.candidates[result.kept] == max(alone.values())
        assert (result.kept == "staged") == (better == "staged")
        assert JEPAModel.from_pretrained(tmp_path / better / "model").config.scorer.filter == better
        assert trainer.model.config.scorer.filter == better


def test_a_training_that_two_stages_win_ends_the_same_after_a_stop(tmp_path: Path, toy_dataset: SteeringDataset):
    slow = config(scorer={}, training=TRAINING | {"learning_rate": 1e-9})
    whole = Trainer(slow, toy_dataset, folder=tmp_path / "whole").fit()
    Trainer(slow, toy_dataset, folder=tmp_path / "parts").fit(stop_after=2)
    for _ in range(2):  # the second time everything is there
        resumed = Trainer.resume(tmp_path / "parts", toy_dataset).fit()
        assert (resumed.kept, resumed.candidates, resumed.finished) == ("staged", whole.candidates, True)
        assert without_time(resumed.history) == without_time(whole.history)
        name = "model/model.safetensors"
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_two_stages_alone_are_resumed_as_such(tmp_path: Path, toy_dataset: SteeringDataset):
    result = Trainer(config(scorer={"filter": "staged"}), toy_dataset, folder=tmp_path).fit()
    assert (result.kept, result.candidates) == ("", {})
    resumed = Trainer.resume(tmp_path, toy_dataset)
    assert resumed.fit() == result
    assert resumed.model.config.scorer.filter == "staged"


def test_the_run_with_the_better_validation_is_kept(tmp_path: Path, toy_dataset: SteeringDataset):
    trainer = Trainer(config(), toy_dataset, folder=tmp_path)
    result = trainer.fit()
    scores = {}
    for negatives in ("batch", "corpus"):
        alone = Trainer(config(loss={"negatives": negatives}), toy_dataset).fit()
        scores[negatives] = alone.best_score
        if alone.best_score == result.best_score:
            assert without_time(alone.history) == without_time(result.history)
    assert result.best_score == max(scores.values()) > min(scores.values())
    assert trainer.model.config.loss.negatives == max(scores, key=lambda name: scores[name])
    assert read_history(tmp_path / "history.jsonl") == list(result.history)
    assert JEPAModel.from_pretrained(tmp_path / "model").config == trainer.model.config


def test_four_epochs_of_two_candidates_are_two_and_two_more(tmp_path: Path, toy_dataset: SteeringDataset):
    whole = Trainer(config(), toy_dataset, folder=tmp_path / "whole").fit()
    assert not Trainer(config(), toy_dataset, folder=tmp_path / "parts").fit(stop_after=2).finished
    # As if the machine had died before the second candidate began.
    second = tmp_path / "parts/candidates/negatives-corpus-residual-none"
    for file in sorted(second.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    second.rmdir()
    resumed = Trainer.resume(tmp_path / "parts", toy_dataset).fit()
    assert without_time(resumed.history) == without_time(whole.history)
    names = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("model.safetensors"))
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_finished_training_is_extended(tmp_path: Path, toy_dataset: SteeringDataset):
    Trainer(config(), toy_dataset, folder=tmp_path).fit()
    second = tmp_path / "candidates/negatives-corpus-residual-none"
    (second / "checkpoint.safetensors").unlink()  # as if it had never begun: it is extended all the same
    longer = Trainer.resume(tmp_path, toy_dataset, epochs=5, patience=5).fit()
    assert len(longer.history) == 6
    assert len(read_history(second / "history.jsonl")) == 6


def test_a_training_is_finished_when_all_its_runs_are(toy_dataset: SteeringDataset):
    trainer = Trainer(config(training=TRAINING | {"epochs": 3}), toy_dataset)
    assert not trainer.fit(stop_after=2).finished
    for run in list(trainer._runs.values())[:1]:
        run.fit()
    assert not trainer.fit(stop_after=2).finished
    assert trainer.fit().finished


def test_a_damaged_configuration_of_candidates_is_refused(tmp_path: Path, toy_dataset: SteeringDataset):
    Trainer(config(), toy_dataset, folder=tmp_path).fit(stop_after=1)
    path = tmp_path / "candidates/config.json"
    path.write_text(path.read_text().replace('"plain"', '"other"').replace('"auto"', '"odd"'))
    with pytest.raises(CheckpointError, match=r"loss\.negatives"):
        Trainer.resume(tmp_path, toy_dataset)


def test_a_trainer_that_has_not_begun_gives_the_untrained_model(toy_dataset: SteeringDataset):
    trainer = Trainer(config(), toy_dataset)
    untrained = trainer.model
    question = torch.from_numpy(toy_dataset.questions[:1].copy())
    nothing = torch.zeros_like(question), torch.zeros(1, dtype=torch.bool)
    assert torch.allclose(untrained.predict(question, *nothing)[:, :16], question, atol=1e-6)
    trainer.fit()
    assert not torch.allclose(trainer.model.predict(question, *nothing)[:, :16], question, atol=1e-3)


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path, toy_dataset: SteeringDataset):
    with pytest.raises(FileNotFoundError):
        Trainer.resume(tmp_path, toy_dataset)


def test_mined_negatives_that_are_asked_for_must_be_given_and_the_other_way_round(toy_dataset: SteeringDataset):
    mined = mine_negatives(toy_dataset, 4, seed=0).ids
    with pytest.raises(ValueError, match="num_negatives is 4, but no mined negatives"):
        Trainer(config(loss={"num_negatives": 4}), toy_dataset)
    with pytest.raises(ValueError, match="num_negatives is 0, but 4 mined negatives"):
        Trainer(config(), toy_dataset, negatives=mined)
    with pytest.raises(ValueError, match="num_negatives is 4, but 3 mined negatives"):
        Trainer(config(loss={"num_negatives": 4}), toy_dataset, negatives=mined[:, :3])


@pytest.mark.parametrize("kind", ["batch", "auto"])
def test_mined_negatives_change_what_is_learned(toy_dataset: SteeringDataset, kind: str):
    mined = mine_negatives(toy_dataset, 4, seed=0).ids
    loss = {"negatives": kind, "num_negatives": 4}
    short = TRAINING | {"epochs": 1}
    with_mined = Trainer(config(loss=loss, training=short), toy_dataset, negatives=mined)
    without = Trainer(config(loss={"negatives": "batch"}, training=short), toy_dataset)
    with_mined.fit(), without.fit()
    question = torch.from_numpy(np.array(toy_dataset.questions[:3]))
    nothing = torch.zeros(3, dtype=torch.bool)
    assert not torch.equal(
        with_mined.model.predict(question, question, nothing), without.model.predict(question, question, nothing)
    )
