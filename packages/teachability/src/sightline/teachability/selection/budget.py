"""What choosing costs, in answers of the student, and what the same would buy in more examples.

Comparing arms at equal numbers of examples hides that some had to measure every candidate first.
"""

from __future__ import annotations

from sightline.teachability.records import Record

_FORWARDS = 3
"""Forward passes that one training example costs in one epoch: one, and a backward pass that counts twice."""


class LabelCost(Record):
    """Answers of the student that an arm needs before it can choose."""

    arm: str
    """Its name."""
    prompts: int
    """Answers."""
    extra_examples: int
    """Examples that the same answers would pay for in training."""


def label_cost(arm: str, *, candidates: int, epochs: int, value_prompts: int = 0, patch_prompts: int = 0) -> LabelCost:
    """Return what an arm costs on a pool.

    Args:
        arm: its name.
        candidates: size of the pool.
        epochs: epochs of training.
        value_prompts: answers that the values of all candidates took.
        patch_prompts: answers that their teaching texts took.

    Raises:
        ValueError: the arm is not known.
    """
    one_each = candidates
    prompts = {
        "random": 0,
        "judge": 0,
        "entropy": one_each,
        # Trained on labels of the pool itself, out of fold: each of them had to be measured once.
        "predictor": one_each + value_prompts + patch_prompts,
        "oracle": one_each + value_prompts + patch_prompts,
        "leverage": one_each + value_prompts,
        "s1": one_each + value_prompts,
        "first_error": one_each + value_prompts,
        # A gradient of every candidate.
        "less": _FORWARDS * candidates,
    }
    if arm not in prompts:
        raise ValueError(f"arm {arm!r} has no known cost; there are: {', '.join(prompts)}")
    return LabelCost(arm=arm, prompts=prompts[arm], extra_examples=prompts[arm] // (_FORWARDS * epochs))
