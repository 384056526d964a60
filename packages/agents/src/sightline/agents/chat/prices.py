"""What a model's tokens cost. Knows nothing of requests or episodes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_PRICED_TOKENS = 1_000_000


class TokenPrices(BaseModel):
    """What a provider asks for a million of a model's tokens, in dollars or any other one currency."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    prompt: float = Field(ge=0)
    """Price of a million tokens that the model reads."""
    completion: float = Field(ge=0)
    """Price of a million tokens that it writes."""
    cached: float | None = Field(default=None, ge=0)
    """Price of a million tokens of prompts that the server takes from its own cache; without it that of the others."""

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Return the cost of a request, in the currency of the prices.

        Args:
            prompt_tokens: tokens that the model read.
            completion_tokens: tokens that it wrote.
            cached_tokens: part of `prompt_tokens` that came from the server's cache.
        """
        cached = self.prompt if self.cached is None else self.cached
        read = (prompt_tokens - cached_tokens) * self.prompt + cached_tokens * cached
        return (read + completion_tokens * self.completion) / _PRICED_TOKENS
