from __future__ import annotations

import pytest

from sightline.agents.reasoning import TRM, Addition, TRMConfig
from sightline.agents.reasoning.training import precision
from sightline.agents.reasoning.training.precision import choose_precision

MODEL = TRM(TRMConfig.for_task(Addition(1), width=16))


@pytest.mark.parametrize(("half", "full", "chosen"), [(1.0, 2.0, "bfloat16"), (2.0, 1.0, "float32")])
def test_the_faster_arithmetic_is_chosen(
    half: float, full: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_seconds", lambda _, dtype: half if "bfloat16" in str(dtype) else full)
    assert choose_precision("auto", MODEL, "cpu") == chosen


def test_timing_leaves_no_gradient_behind() -> None:
    assert choose_precision("auto", MODEL, "cpu") in ("float32", "bfloat16")
    assert all(parameter.grad is None for parameter in MODEL.parameters())


def test_a_given_arithmetic_is_kept() -> None:
    assert choose_precision("bfloat16", MODEL, "cpu") == "bfloat16"
