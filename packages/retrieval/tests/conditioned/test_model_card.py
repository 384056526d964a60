from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from sightline.retrieval import RetrieverConfig, RetrieverTrainingConfig, StateConditionedRetriever
from sightline.retrieval.conditioned import EpochMetrics, TrainingResult
from sightline.retrieval.conditioned.model_card import model_card

TRAINING = TrainingResult(
    (EpochMetrics(0, None, 0.25, 0.125, 0.5), EpochMetrics(1, 1.5, 0.75, 0.625, 0.8125)),
    best_epoch=1,
    training_examples=12_345,
    validation_examples=678,
    config=RetrieverTrainingConfig(top_k=3, margin=0.375),
)


def test_the_hub_reads_the_metadata_of_a_saved_retriever(tmp_path: Path):
    StateConditionedRetriever(4, 8).save_pretrained(tmp_path, TRAINING)
    data = ModelCard.load(tmp_path / "README.md").data.to_dict()
    assert data == {"library_name": "sightline-retrieval", "tags": ["retrieval", "web-agents"]}


def test_the_card_tells_the_shape():
    text = model_card(RetrieverConfig(condition_dim=7, chunk_dim=9, hidden_dim=11, text_encoder="mini"), None)
    for row in ["condition vector | 7", "chunk embedding | 9", "encoder | mini", "two layers, 11 hidden", "head | yes"]:
        assert row in text
    assert "cosine(project(condition), chunk) + importance(chunk)`" in text
    assert "## Training" not in text


def test_the_card_of_the_smallest_retriever_says_what_it_has_not():
    text = model_card(RetrieverConfig(condition_dim=7, importance=False), None)
    for row in ["text encoder | not recorded |", "query projection | linear |", "importance head | no |"]:
        assert row in text
    assert "cosine(project(condition), chunk)`" in text


def test_the_card_holds_every_figure_and_setting_of_the_training():
    text = model_card(RetrieverConfig(condition_dim=7), TRAINING)
    assert "12,345 examples; the epoch was chosen on 678 validation" in text
    table = text.split("| epoch | training loss | recall@3 | MRR | nDCG@3 |\n|---|---|---|---|---|\n")[1]
    assert table.startswith("| 0 |  | 0.2500 | 0.1250 | 0.5000 |\n| 1 | 1.5000 | 0.7500 | 0.6250 | 0.8125 |\n\n")
    for name, value in TRAINING.config.model_dump().items():
        assert f"\n| {name} | {value} |\n" in text


def test_a_name_cannot_break_the_table():
    text = model_card(RetrieverConfig(condition_dim=7, text_encoder="a|b\nc"), None)
    assert "| text encoder | a\\|b c |\n" in text


def test_the_code_of_the_card_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    StateConditionedRetriever(4, 8).save_pretrained(tmp_path / "path/to/this/folder")
    card = (tmp_path / "path/to/this/folder/README.md").read_text()
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"condition": torch.ones(4), "chunks": torch.eye(8)}
    exec(card.split("```python\n")[1].split("```")[0], names)
    assert isinstance(names["best"], list)
    assert len(names["best"]) == 5
