from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sightline.agents.chat.config import ChatConfig


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"parameters": {"stream": True}}, "stream"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"reasks": -1}, "reasks"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        ChatConfig.model_validate({"model": "tiny"} | options)
