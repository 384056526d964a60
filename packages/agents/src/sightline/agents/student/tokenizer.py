"""The tokenizer of a student: learnt from its training prompts and made for copying words between task and page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sightline.agents.student.config import BYTES

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
except ImportError as error:
    raise ImportError("the student needs an extra: pip install 'sightline-agents[language-model]'") from error


def train_tokenizer(
    texts: Iterable[str], markers: Sequence[str], vocabulary_size: int, context: int
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016) for pages and actions.

    Text is lower-cased and cut at white space and punctuation before anything else, so a word has the same tokens after
    a space, a bracket or a new line: to take an action is to copy from the page. New lines and the markers are single
    tokens; spaces are none. Every text can be encoded.

    Args:
        texts: texts to learn frequent pieces of words from.
        markers: pieces of text that are a token each.
        vocabulary_size: most tokens.
        context: longest sequence that the model takes.

    Raises:
        ValueError: the vocabulary has no room for all bytes and the markers.
    """
    own_tokens = (*markers, "\n")
    smallest = BYTES + len(own_tokens)
    if vocabulary_size < smallest:
        raise ValueError(f"vocabulary_size should be at least {smallest}: all bytes and markers; not {vocabulary_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Split(Regex(r"[^\w\s]|_"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(own_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    pattern = re.compile("|".join(map(re.escape, own_tokens)))
    tokenizer.train_from_iterator((pattern.sub(" ", text) for text in texts), trainer)
    tokenizer.add_tokens([AddedToken(marker, normalized=False) for marker in own_tokens])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context)
