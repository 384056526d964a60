from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from sightline.agents.reasoning.models.layers import attend


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_softmax_of_scaled_products(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(2, 3, 5, 8, generator=generator).to(dtype) for _ in range(3))
    scores = torch.einsum("bhqd,bhkd->bhqk", queries.double(), keys.double()) / 8**0.5
    expected = torch.einsum("bhqk,bhkd->bhqd", functional.softmax(scores, dim=-1), values.double())
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(attend(queries, keys, values).double(), expected, rtol=0, atol=tolerance)
