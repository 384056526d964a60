"""A small encoder with a transformer, and a data set whose questions share no word with their sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from sightline.jepa import SteeringDataset, build_dataset
from sightline.jepa.data import SteeringTexts
from sightline.retrieval import SentenceTransformerEncoder

KINDS, PER_KIND = 4, 15


@pytest.fixture(scope="session")
def texts() -> SteeringTexts:
    """Questions that share no word with their sources: which word means which must be learnt."""
    count = KINDS * PER_KIND
    kinds = np.arange(count) % KINDS
    return SteeringTexts(
        questions=tuple(f"ask{kind} about{number}" for number, kind in enumerate(kinds)),
        sources=tuple(f"say{kind} thing{number} please" for number, kind in enumerate(kinds)),
        pairs=np.stack([np.arange(count)] * 2, axis=1),
        question_category=kinds,
        source_category=kinds,
        names=tuple(f"kind{kind}" for kind in range(KINDS)),
        descriptions=tuple(f"kind{kind}" for kind in range(KINDS)),
        keywords=("",) * count,
    )


@pytest.fixture(scope="session")
def model_folder(texts: SteeringTexts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model with a small random BERT."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    said = dict.fromkeys(" ".join((*texts.questions, *texts.sources, *texts.descriptions)).split())
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *said]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder / "bert")
    words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **special).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=32)
    modules: list[torch.nn.Module] = [transformer, Pooling(16), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="session")
def dataset(texts: SteeringTexts, model_folder: Path) -> SteeringDataset:
    return build_dataset(texts, SentenceTransformerEncoder(model_folder).encode, encoder="small")


@pytest.fixture
def kill_at_call(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, str, int], list[int]]:
    """Function that interrupts one call of a function in a module, and returns a list that grows by every call."""

    def kill(module: ModuleType, name: str, number: int) -> list[int]:
        real, seen = getattr(module, name), []

        def killed(*arguments: object) -> object:
            seen.append(1)
            if len(seen) == number:
                raise KeyboardInterrupt
            return real(*arguments)

        monkeypatch.setattr(module, name, killed)
        return seen

    return kill
