"""H7: choosing by the predictor beats choosing by uncertainty or by chance, at equal number and at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline.teachability.figures.finding import Finding, Verdict, excludes, interval_text, p_text
from sightline.teachability.selection.experiment import Lead, SelectionRow
from sightline.teachability.statistics import Estimate
from sightline.teachability.tables import Table

CLAIM = (
    "At the same budget, moments chosen by the predictor teach more than moments chosen by uncertainty or by chance."
)
WORTH = 0.03
PREDICTOR = "predictor"


def analyse_h7(rows: Sequence[SelectionRow], leads: Sequence[Lead], *, tasks: int | None = None) -> Finding:
    """Return the finding.

    Args:
        rows: the summary, one row per arm.
        leads: the predictor against each rival: at equal number `random` and `entropy`, at equal cost
            `random_cost`; differences are of predictor minus rival.
        tasks: number of tasks that they are means of.
    """
    against = {lead.rival: lead for lead in leads if lead.method == PREDICTOR}
    verdict: Verdict = "cannot tell"
    if against and all(lead.low > 0 and lead.p_holm < 0.05 for lead in against.values()):
        verdict = "supported"
    elif against and any(excludes(lead.high, worth=WORTH, count=tasks) for lead in against.values()):
        verdict = "not supported"
    parts = [
        f"{interval_text(Estimate(lead.delta, lead.low, lead.high), points=True)} against {rival} "
        f"(adjusted {p_text(lead.p_holm)})"
        for rival, lead in against.items()
    ]
    sentence = "Predictor, points of success: " + ("; ".join(parts) if parts else "was not among the arms") + "."
    table = tuple(
        (
            row.method, row.n_selected, row.n_examples, row.uncertainty_mean, row.elp_mean, row.label_prompts,
            row.success_rate, row.delta, row.delta_low, row.delta_high, row.p_holm, row.retention_drop,
        )
        for row in rows
    )  # fmt: skip
    columns = (
        "arm", "chosen", "examples", "mean U", "mean ELP", "prompts to choose", "success", "minus random", "low",
        "high", "p (Holm)", "retention drop",
    )  # fmt: skip
    return Finding("H7", CLAIM, verdict, sentence, Table("H7: selection", columns, table))


def draw_h7(rows: Sequence[SelectionRow]) -> Any:
    """Draw success against retention drop, and success against what choosing cost."""
    from sightline.teachability.figures.style import new_figure

    figure, (equal_number, cost) = new_figure(2)
    for row in rows:
        at_cost = row.method.endswith("_cost")
        colour = "#d55e00" if at_cost else "#0072b2"
        if row.retention_drop is not None:
            equal_number.plot(100 * row.retention_drop, 100 * row.success_rate, "s" if at_cost else "o", color=colour)
            equal_number.annotate(row.method, (100 * row.retention_drop, 100 * row.success_rate), fontsize=7)
        cost.plot(row.label_prompts, 100 * row.success_rate, "s" if at_cost else "o", color=colour)
        cost.annotate(row.method, (row.label_prompts, 100 * row.success_rate), fontsize=7)
    equal_number.set_xlabel("retention drop, points")
    equal_number.set_ylabel("success, %")
    cost.set_xscale("symlog")
    cost.set_xlabel("prompts spent on choosing, or for random_cost on more examples")
    cost.set_ylabel("success, %")
    return figure
