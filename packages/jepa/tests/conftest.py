from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from sightline.jepa import build_dataset
from sightline.jepa.asking import open_encoder
from sightline.jepa.data import SteeringTexts
from sightline.jepa.data.dataset import SteeringDataset, unit


@pytest.fixture(scope="session")
def make_toy_dataset() -> Callable[..., SteeringDataset]:
    """A small world that can be learned: a question is its source, rotated, minus most of what tells the category."""

    def make(
        *, dimension: int = 16, categories: int = 4, sources: int = 160, without_category: float = 0.0, seed: int = 0
    ) -> SteeringDataset:
        rng = np.random.default_rng(seed)
        centres = unit(rng.normal(size=(categories, dimension)))
        source_category = rng.integers(0, categories, sources)
        details = unit(rng.normal(size=(sources, dimension)))
        source_vectors = unit(centres[source_category] + 0.9 * details)
        rotation = np.linalg.qr(rng.normal(size=(dimension, dimension)) + 2 * np.eye(dimension))[0]
        questions = unit((0.2 * centres[source_category] + details) @ rotation + 0.1 * rng.normal(size=details.shape))
        question_category = np.where(rng.random(sources) < without_category, -1, source_category)
        return SteeringDataset(
            questions=questions,
            sources=source_vectors,
            pairs=np.stack([np.arange(sources), np.arange(sources)], axis=1),
            pair_split=rng.choice(3, size=sources, p=(0.6, 0.2, 0.2)).astype(np.int8),
            question_category=question_category.astype(np.int64),
            source_category=source_category.astype(np.int64),
            question_text_ids=np.arange(sources),
            source_text_ids=np.arange(sources),
            category_vectors=unit(centres + 0.1 * rng.normal(size=centres.shape)),
            keyword_vectors=unit(centres[source_category] + 0.3 * rng.normal(size=source_vectors.shape)),
            centroids=unit(np.stack([source_vectors[source_category == k].mean(axis=0) for k in range(categories)])),
            names=tuple(f"category {k}" for k in range(categories)),
            encoder="toy",
        )

    return make


@pytest.fixture(scope="session")
def toy_dataset(make_toy_dataset: Callable[..., SteeringDataset]) -> SteeringDataset:
    return make_toy_dataset()


@pytest.fixture(scope="session")
def make_easy_dataset(make_toy_dataset: Callable[..., SteeringDataset]) -> Callable[..., SteeringDataset]:
    """Questions that need no training: their sources, less some of what tells the category, plus noise."""

    def make(**options: int) -> SteeringDataset:
        made = make_toy_dataset(**options)
        noise = np.random.default_rng(1).normal(scale=0.12, size=made.sources.shape)
        return replace(made, questions=unit(made.sources - 0.4 * made.centroids[made.source_category] + noise))

    return make


@pytest.fixture(scope="session")
def easy_dataset(make_easy_dataset: Callable[..., SteeringDataset]) -> SteeringDataset:
    return make_easy_dataset()


@pytest.fixture(scope="session")
def coded_texts() -> SteeringTexts:
    """Questions that share no word with their sources: which word means which must be learnt."""
    kinds = np.arange(120) % 4
    return SteeringTexts(
        questions=tuple(f"ask{kind} about{number}" for number, kind in enumerate(kinds)),
        sources=tuple(f"say{kind} thing{number} please" for number, kind in enumerate(kinds)),
        pairs=np.stack([np.arange(len(kinds))] * 2, axis=1),
        question_category=kinds,
        source_category=kinds,
        names=tuple(f"kind{kind}" for kind in range(4)),
        descriptions=tuple(f"kind{kind}" for kind in range(4)),
        keywords=("",) * len(kinds),
    )


@pytest.fixture(scope="session")
def coded_model(coded_texts: SteeringTexts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sentence-transformers model with a small random BERT that knows the words of these texts."""
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    try:
        parts = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    except ModuleNotFoundError:  # their place before version 6
        parts = importlib.import_module("sentence_transformers.models")
    folder = tmp_path_factory.mktemp("encoder")
    said = " ".join((*coded_texts.questions, *coded_texts.sources, *coded_texts.descriptions)).split()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(said)]
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder / "bert")
    words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **special).save_pretrained(folder / "bert")
    modules = [parts.Transformer(str(folder / "bert"), max_seq_length=32), parts.Pooling(16), parts.Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="session")
def coded_dataset(coded_texts: SteeringTexts, coded_model: Path) -> SteeringDataset:
    """These texts, embedded by this model."""
    encoder = open_encoder(str(coded_model), "cpu")
    return build_dataset(coded_texts, lambda texts: np.asarray(encoder.encode(texts)), encoder=encoder.name)


@pytest.fixture
def kill_at_call(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType | type, str, int], list[int]]:
    """Function that interrupts one call of a function in a module, and returns a list that grows by every call."""

    def kill(module: ModuleType | type, name: str, number: int) -> list[int]:
        real, seen = getattr(module, name), []

        def killed(*arguments: object, **named: object) -> object:
            seen.append(1)
            if len(seen) == number:
                raise KeyboardInterrupt
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, killed)
        return seen

    return kill
