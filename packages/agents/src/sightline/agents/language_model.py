"""Any Hugging Face causal language model as an actor: it ranks the available actions instead of generating one.

This module knows nothing of pages or tasks; `candidates.py` holds the arithmetic.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sightline.agents.candidates import (
    Query,
    candidate_log_probabilities,
    encode_actions,
    encode_prompts,
    plain_log_probabilities,
)
from sightline.agents.records import ActionDistribution

try:
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    raise ImportError("language models need an extra: pip install 'sightline-agents[language-model]'") from error

logger = logging.getLogger(__name__)


class LanguageModelActor:
    """Scores actions by their likelihood under a causal language model.

    An action's score is the log-probability of its tokens, the end of its line included, after the prompt: the sum,
    which is the probability of acting so, or the mean per token. The distribution is the softmax of the scores. The
    batch changes a score by rounding alone.

    A prompt that does not fit into the model's context is cut as `encode_prompts` says.

    Args:
        model: a Hugging Face model id or a folder; ``HF_HUB_OFFLINE`` and the like are respected.
        device: a torch device; default CUDA where there is one, else the CPU.
        dtype: a torch dtype, its name, or ``"auto"`` for the checkpoint's own.
        batch_size: prompts that share a forward pass.
        length_normalised: divide an action's log-probability by its number of tokens.
        temperature: divides the scores before the softmax.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        batch_size: int = 8,
        length_normalised: bool = False,
        temperature: float = 1.0,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature!r}")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(model))
        loaded: Any = AutoModelForCausalLM.from_pretrained(str(model), dtype=dtype)
        self.model = loaded.to(self.device).eval()
        self.batch_size = batch_size
        self.length_normalised = length_normalised
        self.temperature = temperature
        config = self.model.config.get_text_config()
        self._context: int = getattr(config, "max_position_embeddings", None) or 2**30
        # Layers with a sliding window take the tree mask in place of their own, which is the same up to the window.
        self._tree_limit: int = getattr(config, "sliding_window", None) or 2**30
        if not self._honours_tree_mask():
            self._tree_limit = 0
        self.path = "tree" if self._tree_limit else "plain"
        logger.info("%s scores actions by %s attention on %s", model, self.path, self.device)

    def score(self, prompts: Sequence[str], actions: Sequence[Sequence[str]]) -> list[ActionDistribution]:
        """One distribution per prompt, over that prompt's actions.

        Raises:
            ValueError: a prompt has no actions, or one action does not fit into the model's context.
        """
        queries = [self._tokenize(prompt, candidates) for prompt, candidates in zip(prompts, actions, strict=True)]
        answers: list[ActionDistribution | None] = [None] * len(queries)
        order = sorted(range(len(queries)), key=lambda index: queries[index].length)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            logs = self._log_probabilities([queries[index] for index in batch])
            for index, scores in zip(batch, logs, strict=True):
                answers[index] = self._distribution(queries[index], scores)
        return [answer for answer in answers if answer is not None]

    def _tokenize(self, prompt: str, actions: Sequence[str]) -> Query:
        if not actions:
            raise ValueError(f"no actions to choose from after the prompt {prompt[-200:]!r}")
        candidates = encode_actions(self.tokenizer, actions)
        room = self._context - max(map(len, candidates))
        if room < 1:
            longest = max(actions, key=len)
            raise ValueError(f"an action leaves no room for a prompt in {self._context} tokens: {longest[:200]!r}")
        return Query(encode_prompts(self.tokenizer, [prompt], [room])[0], candidates)

    def _distribution(self, query: Query, scores: list[float]) -> ActionDistribution:
        if self.length_normalised:
            scores = [score / len(tokens) for score, tokens in zip(scores, query.candidates, strict=True)]
        weights = [math.exp((score - max(scores)) / self.temperature) for score in scores]
        best = max(range(len(weights)), key=weights.__getitem__)
        probabilities = tuple(weight / sum(weights) for weight in weights)
        return ActionDistribution(probabilities, len(query.prompt), len(query.candidates[best]))

    @torch.inference_mode()
    def _log_probabilities(self, queries: Sequence[Query]) -> list[list[float]]:
        if max(query.length for query in queries) <= self._tree_limit:
            return [sums.tolist() for sums in candidate_log_probabilities(self.model, queries)]
        return [plain_log_probabilities(self.model, query).tolist() for query in queries]

    @torch.inference_mode()
    def _honours_tree_mask(self) -> bool:
        """Whether both ways of scoring agree; repeated candidates would betray one that sees another."""
        query = self._tokenize("task: a red chair\npage:\n[button] red [button_]\naction:", ["click[red]"] * 3)
        other = self._tokenize("action:", ["click[a chair]", "search[red]"])
        expected = [plain_log_probabilities(self.model, each) for each in (query, other)]
        try:
            found = candidate_log_probabilities(self.model, [query, other])
        except (TypeError, ValueError, RuntimeError) as error:
            logger.info("no tree attention: %s", error)
            return False
        tolerance = 2 * math.sqrt(torch.finfo(self.model.dtype).eps)
        return all(
            bool(
                (torch.abs(a - b) <= tolerance * torch.tensor([len(c) for c in each.candidates], device=a.device)).all()
            )
            for each, a, b in zip((query, other), expected, found, strict=True)
        )
