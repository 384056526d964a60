"""A causal language model as a student: it acts by sampling from the distribution that it is scored by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.training._extra import torch
from sightline.teachability.training.encoding import Encoded, EncodeFn
from sightline.teachability.views import StateView

ScoreFn = Callable[[Any, Sequence[Encoded]], list["torch.Tensor"]]
"""Log-probability of every candidate of every prompt under a model: one float32 tensor [candidates] per prompt."""


def plain_scores(model: Any, encoded: Sequence[Encoded]) -> list[torch.Tensor]:
    """Return log-probabilities by one padded row per candidate: right for any causal model, gradients flow.

    Args:
        model: a Hugging Face causal language model.
        encoded: B prompts with their candidates.
    """
    rows = [(one.prompt + candidate, len(candidate)) for one in encoded for candidate in one.candidates]
    width = max(len(tokens) for tokens, _ in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, (ids, _) in enumerate(rows):
        tokens[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    tokens, mask = tokens.to(model.device), mask.to(model.device)
    logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
    sums = []
    for row, (ids, length) in enumerate(rows):
        first = len(ids) - length
        logs = logits[row, first - 1 : len(ids) - 1].float().log_softmax(-1)
        sums.append(logs.gather(1, tokens[row, first : len(ids), None])[:, 0].sum())
    counts = [len(one.candidates) for one in encoded]
    return list(torch.stack(sums).split(counts))


def scaled(sums: torch.Tensor, encoded: Encoded, *, temperature: float, length_normalised: bool) -> torch.Tensor:
    """Return the logits of the acting distribution, [candidates]."""
    if length_normalised:
        lengths = torch.tensor([len(candidate) for candidate in encoded.candidates], device=sums.device)
        sums = sums / lengths
    return sums / temperature


class CausalLanguagePolicy:
    """`ActionPolicy` of a causal language model.

    Args:
        model: a Hugging Face causal language model, in evaluation mode.
        encode: makes tokens of a view.
        name: name for tables.
        fingerprint: digest of the weights; with the settings below it becomes the policy's fingerprint.
        temperature: divides the scores before the softmax.
        length_normalised: score by the mean log-probability per token in place of the sum.
        score: computes the log-probabilities.
        batch_size: prompts that share a forward pass.
        prepare: called before every use of the model; an adapter is put in place here.
    """

    def __init__(
        self,
        model: Any,
        encode: EncodeFn,
        *,
        name: str,
        fingerprint: str,
        temperature: float = 1.0,
        length_normalised: bool = False,
        score: ScoreFn = plain_scores,
        batch_size: int = 8,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._model = model
        self._encode = encode
        self.name = name
        settings = f"{fingerprint} temperature {temperature} normalised {length_normalised}"
        self.fingerprint = hashlib.sha256(settings.encode()).hexdigest()[:16]
        self._temperature = temperature
        self._length_normalised = length_normalised
        self._score = score
        self._batch_size = batch_size
        self._prepare = prepare

    def distributions(
        self, views: Sequence[StateView], patches: Sequence[str | None] | None = None
    ) -> list[NDArray[np.float64]]:
        """Return one distribution per view, over the view's actions."""
        texts = patches or [None] * len(views)
        encoded = [self._encode(view, text) for view, text in zip(views, texts, strict=True)]
        if self._prepare:
            self._prepare()
        # Prompts of like length share a pass, so that little is padding.
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].prompt))
        answers: dict[int, NDArray[np.float64]] = {}
        with torch.inference_mode():
            for start in range(0, len(order), self._batch_size):
                places = order[start : start + self._batch_size]
                for place, sums in zip(places, self._score(self._model, [encoded[i] for i in places]), strict=True):
                    logits = scaled(
                        sums.double(),
                        encoded[place],
                        temperature=self._temperature,
                        length_normalised=self._length_normalised,
                    )
                    answers[place] = logits.softmax(-1).cpu().numpy()
        return [answers[place] for place in range(len(encoded))]
