"""How a chat model is asked. Holds no secret, so it may stand in a file; needs no library of a provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

_OWN_PARAMETERS = frozenset({"model", "messages", "temperature", "n", "stream"})


def _without_own(parameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if own := sorted(_OWN_PARAMETERS & parameters.keys()):
        raise ValueError(f"parameters should not hold {', '.join(own)}, which the actor sets itself")
    return parameters


class ChatConfig(BaseModel):
    """Which model is asked where, and how patiently."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    model: str
    """The model's name at the server."""
    base_url: str | None = None
    """Address of the server, for example `http://localhost:8000/v1`; without it the openai library's default."""
    temperature: float | None = 0.0
    """Temperature of the model's sampling; None to leave it to the server, since some models take none."""
    parameters: Annotated[dict[str, JsonValue], AfterValidator(_without_own)] = Field(default_factory=dict)
    """Further parameters of the request as the server names them, for example `{"seed": 0, "max_tokens": 50}`."""
    constrained: bool = True
    """Whether the server is asked to hold answers to the wanted JSON; one that refuses is asked without."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds that one attempt may take."""
    max_retries: int = Field(default=5, ge=0)
    """Repetitions of a request that fails for a passing reason, before its error is raised."""
    longest_wait: float = Field(default=600.0, ge=0)
    """Seconds that a server's `Retry-After` may ask for; a request that would have to wait longer fails at once."""
    concurrency: int = Field(default=4, ge=1)
    """Requests under way at a time, those that pause included."""
    reasks: int = Field(default=1, ge=0)
    """Repetitions of a question whose answer names no action."""
