"""What the critic of a network may estimate."""

from typing import Literal, TypeAlias

ValueMode: TypeAlias = Literal["state", "op_q", "op_expected_q"]
"""What the critic estimates: V(s); Q(s, o) of the drawn operation; or the mean of Q(s, o) over pi(o), which is V(s)
again. As a baseline Q(s, o) biases the policy gradient, because it depends on the action; the others do not."""
