"""Looks at a set of examples before anything is trained on it, and refuses what would teach a dead end.

Training on a teacher's actions at failures alone has been seen to teach a student never to finish: the teacher knows
what the student cannot see, so most of what it does there is to turn back. Knows nothing of models.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from pydantic import Field

from sightline.teachability.errors import AuditError
from sightline.teachability.records import Record
from sightline.teachability.training_records import Example


class AuditRules(Record):
    """What is refused."""

    dominant: float = Field(0.6, gt=0, le=1)
    """Share of the examples on one kind of page from which an action kind dominates it."""
    rare: float = Field(0.2, ge=0, le=1)
    """Share in the replay below which the student hardly ever does that itself."""
    smallest: int = Field(8, ge=1)
    """Examples on a kind of page from which the rules apply."""
    required: dict[str, str] = Field(default_factory=dict)
    """Per kind of page, an action kind that must occur among the examples there."""


def audit_examples(
    examples: Sequence[Example],
    *,
    action_kind: Callable[[str], str],
    decode: Callable[[Sequence[int]], str],
    rules: AuditRules | None = None,
    panel_groups: Collection[str] = (),
) -> None:
    """Check a training set.

    Args:
        examples: corrections and replay together, as they will be trained on.
        action_kind: kind of an action's text.
        decode: text of tokens.
        rules: what is refused.
        panel_groups: groups that evaluation uses.

    Raises:
        AuditError: something is wrong; the message lists all of it.
    """
    rules = rules or AuditRules()
    problems = [*_dead_ends(examples, action_kind, rules), *_unsupervised(examples, decode)]
    if leaks := sorted({example.group for example in examples} & set(panel_groups)):
        problems.append(f"{len(leaks)} groups of the panel are trained on: {leaks[:5]}")
    if problems:
        raise AuditError("the examples would teach something else: " + "; ".join(problems))


def action_shares(examples: Sequence[Example], action_kind: Callable[[str], str]) -> Mapping[str, Mapping[str, float]]:
    """Return, per kind of page, the share of each action kind among the chosen actions."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        counts[example.kind][action_kind(example.action)] += 1
    return {
        page: {action: number / sum(of_page.values()) for action, number in of_page.items()}
        for page, of_page in counts.items()
    }


def _dead_ends(examples: Sequence[Example], action_kind: Callable[[str], str], rules: AuditRules) -> list[str]:
    shares = action_shares(examples, action_kind)
    own = action_shares([example for example in examples if example.source == "replay"], action_kind)
    sizes = Counter(example.kind for example in examples)
    problems = []
    for page, of_page in shares.items():
        if sizes[page] < rules.smallest:
            continue
        for action, share in of_page.items():
            replayed = own.get(page, {}).get(action, 0.0)
            if share > rules.dominant and replayed < rules.rare:
                problems.append(
                    f"on pages of kind {page!r} {share:.0%} of {sizes[page]} examples say {action!r}, which is "
                    f"{replayed:.0%} of the replay there: add replay, or leave such corrections out"
                )
        needed = rules.required.get(page)
        if needed is not None and not of_page.get(needed):
            problems.append(f"none of {sizes[page]} examples on pages of kind {page!r} says {needed!r}")
    return problems


def _unsupervised(examples: Sequence[Example], decode: Callable[[Sequence[int]], str]) -> list[str]:
    wrong = [
        (decode(example.completion_ids), example.action)
        for example in examples
        if decode(example.completion_ids).strip() != example.action.strip()
    ]
    if not wrong:
        return []
    said, meant = wrong[0]
    return [f"{len(wrong)} examples supervise other words than their action, the first {said!r} in place of {meant!r}"]
