"""The tokenizer of a student: learnt from its training prompts and made for copying words between task and page."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sightline.agents.student.config import BYTES

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
except ImportError as error:
    raise ImportError("the student needs an extra: pip install 'sightline-agents[language-model]'") from error

# One token each: what every page and action repeats.
_MARKERS = ("[button]", "[button_]", "[clicked button]", "[clicked button_]", "click[", "search[", "\n")


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) for pages and actions.

    Text is lower-cased and cut at white space and punctuation before anything else, so a word has the same tokens after
    a space, a bracket or a new line: to take an action is to copy from the page. New lines and the markers of buttons
    and actions are single tokens; spaces are none. Every text can be encoded.

    Args:
        texts: what to learn frequent pieces of words from.
        vocabulary_size: most tokens.
        context: longest sequence that the model takes.

    Raises:
        ValueError: the vocabulary has no room for all bytes and the markers.
    """
    smallest = BYTES + len(_MARKERS)
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
        vocab_size=vocabulary_size - len(_MARKERS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    markers = re.compile("|".join(map(re.escape, _MARKERS)))
    tokenizer.train_from_iterator((markers.sub(" ", text) for text in texts), trainer)
    tokenizer.add_tokens([AddedToken(marker, normalized=False) for marker in _MARKERS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context)
