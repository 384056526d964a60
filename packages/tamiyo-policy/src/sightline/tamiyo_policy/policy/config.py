"""Settings of policy networks, importable without torch."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

ValueMode: TypeAlias = Literal["state", "op_q", "op_expected_q"]
"""What the critic estimates: V(s); Q(s, o) of the drawn operation; or the mean of Q(s, o) over pi(o), which is V(s)
again. As a baseline Q(s, o) biases the policy gradient, because it depends on the action; the others do not."""


class NetworkConfig(BaseModel):
    """What a policy network is made of, apart from what it sees and does."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    hidden_dim: int = Field(default=64, ge=2)
    """Width N of the network and of its memory."""
    entrance: bool = True
    """A layer before the LSTM, which the heads see past it too. Observations of a few plain features are learned from
    in fewer steps without."""
    recurrent: bool = True
    """Remember; without, a network of the same size sees one step, as a control."""
    memory: Literal["lstm", "gru"] = "lstm"
    """Kind of recurrent layer that remembers."""
    value_mode: ValueMode = "state"
    """What the critic values."""
    condition_sub_heads: bool = False
    """Let sub-heads know the operation and the chosen slot; otherwise they depend on them through masks alone."""
    epsilon: float = Field(default=0.0, ge=0, lt=1)
    """Share of the uniform distribution over legal choices that is mixed into every head."""
