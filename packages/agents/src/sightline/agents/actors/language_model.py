"""Any Hugging Face causal language model as an actor: it ranks the available actions instead of generating one.

This module knows nothing of pages or tasks. `candidate_scoring.py` holds the arithmetic, `prefix_cache.py` what was
read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self

import torch

from sightline.agents.actors.bounded_cache import BoundedCache
from sightline.agents.actors.candidate_scoring import (
    PackedPrompt,
    candidate_log_probabilities,
    encode_actions,
    encode_prompts,
    plain_log_probabilities,
)
from sightline.agents.records import ActionDistribution

try:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from sightline.agents.actors.prefix_cache import PrefixCache
except ImportError as error:
    raise ImportError("language models need an extra: pip install 'sightline-agents[language-model]'") from error

logger = logging.getLogger(__name__)

_UNLIMITED = 2**30
# On a CPU more tokens a pass outgrow its caches: a pass of 3900 took a third longer a token than one of 1000.
_CPU_PASS_TOKENS = 1536
_CACHED_NUMBER_BYTES = 32  # a float and its place in a tuple
_CACHED_ENTRY_BYTES = 400  # the key, the record and their places in the cache


class LanguageModelActor:
    """Scores actions by their likelihood under a causal language model.

    An action's score is the log-probability of its tokens, the end of its line included, after the prompt: the sum,
    which is the probability of acting so, or the mean per token. The distribution is the softmax of the scores. The
    batch and the caches change a score by rounding alone.

    A prompt that does not fit into the model's context is cut, and put into the chat template of a tokenizer that has
    one, as `encode_prompts` says.

    Both caches are off by default, since with them an answer depends, if by rounding alone, on the calls before it,
    and rollouts are equal bit by bit between engines only where it does not. They belong to this actor: no other
    model or tokenizer sees them. Call `forget` after changing the model's weights.

    An actor may be shared by threads: their calls of `score` and `forget` take turns.

    Args:
        model: a Hugging Face model id, a folder, or a GGUF file; `HF_HUB_OFFLINE` and the like are respected.
        adapter: folder of a PEFT adapter (LoRA, for example) that was trained on this model.
        device: a torch device; default CUDA where there is one, else the CPU.
        dtype: a torch dtype, its name, or `"auto"`: bfloat16 on a CUDA device that computes in it, else the
            checkpoint's own.
        batch_size: most prompts that share a forward pass; on a CPU long ones are fewer.
        length_normalised: divide an action's log-probability by its number of tokens.
        temperature: divides the scores before the softmax.
        chat_template: put prompts into the tokenizer's chat template, where it has one.
        prefix_cache_bytes: most bytes, on the device, of attention states that are kept so that a prompt which begins
            as an earlier one did is read from where they part. It pays where prompts grow, as chats do.
        distribution_cache_bytes: most bytes of answers that are kept for when the same prompt comes with the same
            actions.

    Attributes:
        path: `"tree"` where all candidates share one pass, `"plain"` where the model ignores the mask for that.
        distribution_hits: answers given from the distribution cache so far.

    Raises:
        ValueError: an option is out of range.
        ImportError: an adapter is given and PEFT is not installed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        adapter: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        batch_size: int = 8,
        length_normalised: bool = False,
        temperature: float = 1.0,
        chat_template: bool = True,
        prefix_cache_bytes: int = 0,
        distribution_cache_bytes: int = 0,
    ) -> None:
        self._set_options(
            batch_size, length_normalised, temperature, chat_template, prefix_cache_bytes, distribution_cache_bytes
        )
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._remake: Callable[..., LanguageModelActor] = partial(
            LanguageModelActor, model, adapter=adapter, device=device, dtype=dtype, **self._options
        )
        loaded, tokenizer = load_language_model(model, dtype=_choose_dtype(dtype, place))
        if adapter is not None:
            loaded = _with_adapter(loaded, adapter)
        self._set_model(loaded.to(place), tokenizer, name=str(model))

    @classmethod
    def from_model(
        cls,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "a loaded model",
        batch_size: int = 8,
        length_normalised: bool = False,
        temperature: float = 1.0,
        chat_template: bool = True,
        prefix_cache_bytes: int = 0,
        distribution_cache_bytes: int = 0,
    ) -> Self:
        """Return an actor of a model that is in memory already, for example one that is being trained.

        Args:
            model: a Hugging Face causal language model, which stays on its device and is put in evaluation mode.
            tokenizer: its tokenizer.
            name: what logs call it.
            batch_size: most prompts that share a forward pass.
            length_normalised: whether an action's log-probability is divided by its number of tokens.
            temperature: divisor of the scores before the softmax.
            chat_template: whether prompts are put into the tokenizer's chat template, where it has one.
            prefix_cache_bytes: bytes of attention states to keep.
            distribution_cache_bytes: bytes of answers to keep.

        Raises:
            ValueError: an option is out of range.
        """
        actor = cls.__new__(cls)
        actor._set_options(
            batch_size, length_normalised, temperature, chat_template, prefix_cache_bytes, distribution_cache_bytes
        )
        actor._remake = partial(cls.from_model, model, tokenizer, name=name, **actor._options)
        actor._set_model(model, tokenizer, name=name)
        return actor

    def _set_options(
        self,
        batch_size: int,
        length_normalised: bool,
        temperature: float,
        chat_template: bool,
        prefix_cache_bytes: int,
        distribution_cache_bytes: int,
    ) -> None:
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature must be positive and finite, not {temperature!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size!r}")
        self._options: dict[str, Any] = {
            "batch_size": batch_size,
            "length_normalised": length_normalised,
            "temperature": temperature,
            "chat_template": chat_template,
            "prefix_cache_bytes": prefix_cache_bytes,
            "distribution_cache_bytes": distribution_cache_bytes,
        }
        self._prefixes: PrefixCache | None = PrefixCache(prefix_cache_bytes) if prefix_cache_bytes else None
        self._distributions: BoundedCache[ActionDistribution] = BoundedCache(distribution_cache_bytes)
        self.distribution_hits = 0
        self._lock = Lock()
        self.batch_size = batch_size
        self.length_normalised = length_normalised
        self.temperature = temperature
        self.chat_template = chat_template

    def _set_model(self, model: Any, tokenizer: Any, *, name: str) -> None:
        self.tokenizer = tokenizer
        self.model = model.eval()
        self.device = torch.device(model.device)
        config = self.model.config.get_text_config()
        self._context: int = getattr(config, "max_position_embeddings", None) or _UNLIMITED
        self._tree_limit = _longest_tree(config) if self._honours_tree_mask() else 0
        self.path = "tree" if self._tree_limit else "plain"
        if self._prefixes and not (self._tree_limit and self._honours_tree_mask(PrefixCache(_UNLIMITED))):
            self._prefixes = None
            logger.info("%s cannot continue from a prefix that was read before; prompts are read in full", name)
        logger.info("%s scores actions by %s attention on %s", name, self.path, self.device)

    def __reduce__(self) -> tuple[Callable[..., LanguageModelActor], tuple[()]]:
        """Pickle how the actor was made, with the model itself where it was given one; caches begin anew."""
        return self._remake, ()

    @property
    def reused_tokens(self) -> int:
        """Tokens of prompts that the prefix cache spared the model so far."""
        return self._prefixes.reused_tokens if self._prefixes else 0

    @property
    def cached_bytes(self) -> int:
        """Bytes that both caches hold."""
        return self._distributions.held_bytes + (self._prefixes.held_bytes if self._prefixes else 0)

    def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
        """Return one distribution per prompt, over that prompt's actions.

        Raises:
            ValueError: a prompt has no actions, or one action does not fit into the model's context.
        """
        pairs = list(zip(prompts, actions, strict=True))
        with self._lock:
            if not self._distributions.max_bytes:
                return self._score([self._tokenize(*pair) for pair in pairs])
            keys = [self._key(*pair) for pair in pairs]
            answers = {key: self._distributions.get(key) for key in keys}
            unknown = {key: pair for key, pair in zip(keys, pairs, strict=True) if answers[key] is None}
            found = self._score([self._tokenize(*pair) for pair in unknown.values()])
            for key, answer in zip(unknown, found, strict=True):
                answers[key] = answer
                size = _CACHED_ENTRY_BYTES + _CACHED_NUMBER_BYTES * len(answer.probabilities)
                self._distributions.put(key, answer, size)
            self.distribution_hits += len(keys) - len(unknown)
            return [answer for answer in map(answers.__getitem__, keys) if answer is not None]

    def forget(self) -> None:
        """Empty the caches; needed after the model's weights have changed."""
        with self._lock:
            self._distributions.clear()
            if self._prefixes:
                self._prefixes.clear()

    def _key(self, prompt: str, actions: Sequence[str]) -> bytes:
        content = json.dumps([prompt, list(actions), self.length_normalised, self.temperature])
        return hashlib.blake2b(content.encode(), digest_size=16).digest()

    def _score(self, packed_prompts: Sequence[PackedPrompt]) -> list[ActionDistribution]:
        answers: list[ActionDistribution | None] = [None] * len(packed_prompts)
        for batch in self._batches(packed_prompts):
            logs = self._log_probabilities([packed_prompts[index] for index in batch])
            for index, scores in zip(batch, logs, strict=True):
                answers[index] = self._distribution(packed_prompts[index], scores)
        return [answer for answer in answers if answer is not None]

    def _batches(self, packed_prompts: Sequence[PackedPrompt]) -> list[list[int]]:
        """Return indices of the prompts that share a pass: those with about as many tokens to read."""
        held = [self._prefixes.held_tokens(packed.prompt) if self._prefixes else 0 for packed in packed_prompts]
        unread = [packed.length - tokens for packed, tokens in zip(packed_prompts, held, strict=True)]
        limit = _CPU_PASS_TOKENS if self.device.type == "cpu" else _UNLIMITED
        batches: list[list[int]] = []
        for index in sorted(range(len(packed_prompts)), key=unread.__getitem__):
            rows = len(batches[-1]) + 1 if batches else self.batch_size + 1
            if rows > self.batch_size or rows * unread[index] > limit:
                batches.append([])
            batches[-1].append(index)
        return batches

    def _tokenize(self, prompt: str, actions: Sequence[str]) -> PackedPrompt:
        if not actions:
            raise ValueError(f"no actions to choose from after the prompt {prompt[-200:]!r}")
        candidates = encode_actions(self.tokenizer, actions)
        room = self._context - max(map(len, candidates))
        if room < 1:
            longest = max(actions, key=len)
            raise ValueError(f"an action leaves no room for a prompt in {self._context} tokens: {longest[:200]!r}")
        (tokens,) = encode_prompts(self.tokenizer, [prompt], [room], chat_template=self.chat_template)
        return PackedPrompt(tokens, candidates)

    def _distribution(self, packed: PackedPrompt, scores: list[float]) -> ActionDistribution:
        if self.length_normalised:
            scores = [score / len(tokens) for score, tokens in zip(scores, packed.candidates, strict=True)]
        weights = [math.exp((score - max(scores)) / self.temperature) for score in scores]
        best = max(range(len(weights)), key=weights.__getitem__)
        probabilities = tuple(weight / sum(weights) for weight in weights)
        read = len(packed.prompt) + sum(map(len, packed.candidates))
        return ActionDistribution(probabilities, read, len(packed.candidates[best]))

    @torch.inference_mode()
    def _log_probabilities(self, packed_prompts: Sequence[PackedPrompt]) -> list[list[float]]:
        if max(packed.length for packed in packed_prompts) <= self._tree_limit:
            return [sums.tolist() for sums in candidate_log_probabilities(self.model, packed_prompts, self._prefixes)]
        return [plain_log_probabilities(self.model, packed).tolist() for packed in packed_prompts]

    @torch.inference_mode()
    def _honours_tree_mask(self, prefixes: PrefixCache | None = None) -> bool:
        """Return whether both ways of scoring agree; repeated candidates would betray one that sees another.

        Args:
            prefixes: an empty cache, to ask the same of reading on from what it holds.
        """
        page = "task: a red chair\npage:\n[button] red [button_]\naction:"
        packed_prompts = [
            self._tokenize(page, ["click[red]"] * 3),
            self._tokenize("action:", ["click[a chair]", "search[red]"]),
        ]
        expected = [plain_log_probabilities(self.model, packed) for packed in packed_prompts]
        try:
            found = candidate_log_probabilities(self.model, packed_prompts, prefixes)
            if prefixes:
                packed_prompts, expected = packed_prompts * 2, expected * 2
                found += candidate_log_probabilities(self.model, packed_prompts[:2], prefixes)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            logger.info("no tree attention: %s", error)
            return False
        tolerance = 2 * math.sqrt(torch.finfo(self.model.dtype).eps)
        return all(
            bool((torch.abs(sums - truth) <= tolerance * packed.lengths.to(sums.device)).all())
            for packed, sums, truth in zip(packed_prompts, found, expected, strict=True)
        )


def load_language_model(model: str | Path, *, dtype: str | torch.dtype = "auto") -> tuple[Any, Any]:
    """Return a causal language model and its tokenizer.

    Args:
        model: a Hugging Face model id, a folder, or a GGUF file, whose weights are unpacked.
        dtype: a torch dtype, its name, or `"auto"` for the checkpoint's own.

    Raises:
        ImportError: a GGUF file is given and the library for such files is not installed.
    """
    path = Path(model)
    if path.suffix != ".gguf":
        tokenizer = AutoTokenizer.from_pretrained(str(model))
        return AutoModelForCausalLM.from_pretrained(str(model), dtype=dtype), tokenizer
    try:
        import gguf  # noqa: F401  (transformers reads such files with it)
    except ImportError as error:
        raise ImportError("GGUF files need an extra: pip install 'sightline-agents[gguf]'") from error
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    loaded: Any = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=dtype)
    # Its weights are numbers like any other now; as a quantised model it could be neither tuned nor saved.
    loaded.hf_quantizer, loaded.is_quantized = None, False
    loaded.config.__dict__.pop("quantization_config", None)
    return loaded, tokenizer


def _with_adapter(model: Any, adapter: str | Path) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ImportError("adapters need an extra: pip install 'sightline-agents[adapters]'") from error
    with warnings.catch_warnings():
        # PEFT reads a property that transformers has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return PeftModel.from_pretrained(model, str(adapter))


def _choose_dtype(dtype: str | torch.dtype, device: torch.device) -> str | torch.dtype:
    """Return what `"auto"` stands for on a device; anything else as it is."""
    if dtype == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return dtype


def _longest_tree(config: Any) -> int:
    """Return the most tokens of a packed sequence for which the tree mask gives what the model computes by itself.

    Layers with a sliding window take the tree mask in place of their own, which is the same up to the window. Rotary
    positions that change with the length of the sequence are the same for all up to the length of pretraining.
    """
    rotary = getattr(config, "rope_parameters", None) or {}
    scalings = [rotary, *(value for value in rotary.values() if isinstance(value, dict))]
    lengths = [
        scaling.get("original_max_position_embeddings")
        for scaling in scalings
        if scaling.get("rope_type") in ("dynamic", "longrope")
    ]
    return min(length or _UNLIMITED for length in [getattr(config, "sliding_window", None), *lengths])
