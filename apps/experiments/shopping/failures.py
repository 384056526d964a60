"""The part of phase 2's report that asks why an agent failed: counts, and typical episodes at their decisive step."""

from __future__ import annotations

from experiments.shopping.agents import TRAINED
from experiments.shopping.findings import Findings
from lab.report import Section
from sightline.agents import Table
from sightline.agents.evaluation import Failure, failure_table, typical_failures
from sightline.agents.grammar import webshop_grammar

_SHOWN_FAILURES = 3


def failure_sections(findings: Findings) -> list[Section]:
    """Return counts over all training seeds, then episodes of the first one, whose scores can be shown."""
    failures, episodes = findings.failures(), findings.episodes[TRAINED]
    table = failure_table(episodes, failures, webshop_grammar, seed=findings.seed)
    firsts = {id(episode) for episode in episodes[0]}
    shown = typical_failures([f for f in failures if id(f.trajectory) in firsts], _SHOWN_FAILURES)
    return [
        Section(f"Why {TRAINED} failed", (), (table,)),
        *(_failure_section(failure, findings) for failure in shown),
    ]


def _failure_section(failure: Failure, findings: Findings) -> Section:
    heading = f"Goal {failure.trajectory.goal}: {failure.ending}; {failure.evidence}"
    paragraphs = [f"Task: {' '.join(failure.trajectory.instruction.split())}"]
    if failure.step is None:
        paragraphs.append("At every step the agent did what the expert would have done, as far as that is known.")
        return Section(heading, tuple(paragraphs), minor=True)
    step = failure.trajectory.steps[failure.step]
    paragraphs.append(
        f"Decisive step: {failure.step + 1} of {len(failure.trajectory.steps)}, on a "
        f"{webshop_grammar.page_kind(step.available_actions)} page. The agent did {step.action}; the expert would have "
        f"done {step.expert_action}."
    )
    rows = tuple(
        (
            "-" if chunk.score is None else f"{chunk.score:+.2f}",
            "read" if chunk.read else "",
            "target" if chunk.target else "",
            chunk.text,
        )
        for chunk in failure.chunks(webshop_grammar, findings.chunking, findings.scorer)
    )
    table = Table(("score", "read", "expert's target", "chunk"), rows, "The chunks of that page, in page order.")
    return Section(heading, tuple(paragraphs), (table,), minor=True)
