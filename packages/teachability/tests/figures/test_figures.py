from __future__ import annotations

import math

import numpy as np
import pytest

from sightline.teachability.evaluation import OverallRow, RetentionRow, transfer_matrix
from sightline.teachability.evaluation.records import EpisodeRow
from sightline.teachability.figures import (
    analyse_h1,
    analyse_h2,
    analyse_h3,
    analyse_h4,
    analyse_h5,
    analyse_h6,
    analyse_h7,
    decide,
    draw_h1,
    draw_h2,
    draw_h3,
    draw_h4,
    draw_h5,
    draw_h6,
    draw_h7,
    interval_text,
    pair_up,
)
from sightline.teachability.figures.finding import p_text
from sightline.teachability.labels import Thresholds
from sightline.teachability.selection import Lead, SelectionRow
from sightline.teachability.statistics import Estimate
from sightline.teachability.tables import Table
from sightline.teachability.training_records import MicroRow, RunPlan

THRESHOLDS = Thresholds(u=0.5, l_local=0.05, l_median=0.0, l_rule="fixed", snapshots=1, groups=("g",))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "supported"), (-0.1, 0.02, "not supported"), (-0.1, 0.2, "cannot tell"), (math.nan, 1, "cannot tell")],
)
def test_the_verdict_follows_from_the_interval(low, high, verdict):
    assert decide(Estimate((low + high) / 2, low, high), worth=0.03) == verdict


@pytest.mark.parametrize(("count", "verdict"), [(8, "cannot tell"), (100, "cannot tell"), (101, "not supported")])
def test_a_few_differences_that_are_all_nothing_exclude_little(count, verdict):
    assert decide(Estimate(0.0, 0.0, 0.0), worth=0.03, count=count) == verdict


def test_tables_escape_what_pages_and_models_are_called():
    table = Table("50 % of_all", ("a|b", "n"), (("x_1 & {y}", 0.12345), (None, math.nan)))
    assert "| x_1 & {y} | 0.123 |" in table.markdown()
    assert "| - | - |" in table.markdown()
    assert r"x\_1 \& \{y\} & 0.123 \\" in table.latex()
    assert r"\caption{50 \% of\_all}" in table.latex()


def test_intervals_as_text():
    assert interval_text(Estimate(0.0312, -0.01, 0.0724), points=True) == "+3.1 [-1.0, +7.2]"
    assert interval_text(Estimate(math.nan, 0.0, 1.0)) == "- [+0.000, +1.000]"
    assert [p_text(p) for p in (0.2, 0.001, 0.0005, 0.0)] == ["p = 0.200", "p = 0.001", "p < 0.001", "p < 0.001"]


def labelled_crowd(scene, effect, size=160):
    """Copies of a snapshot whose payoff depends on the quadrant by ``effect``."""
    base = next(one for one in scene.labelled if one.values and one.patches and one.first_order)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(size):
        quadrant = ("Q1", "Q2", "Q3", "Q4")[number % 4]
        value = effect * (quadrant == "Q1") + 0.05 * generator.normal()
        elp = base.patches.elp.model_copy(update={"low": value, "high": value, "estimate": value})
        effects = tuple(
            e.model_copy(
                update={
                    "gain0": e.gain0.model_copy(update={"low": value + d, "high": value + d, "estimate": value + d})
                }
            )
            for e in base.patches.effects
            for d in [0.01 * generator.normal()]
        )
        lead = float(generator.random())
        rows.append(
            base.model_copy(
                update={
                    "snapshot": base.snapshot.model_copy(update={"id": f"{number:016x}", "group": f"g{number // 2}"}),
                    "quadrant": quadrant,
                    "patches": base.patches.model_copy(update={"elp": elp, "effects": effects}),
                    "values": base.values.model_copy(
                        update={
                            "L_local": base.values.L_local.model_copy(
                                update={"low": lead, "high": lead, "estimate": lead}
                            )
                        }
                    ),
                    "first_order": base.first_order.model_copy(update={"logit": float(generator.random())}),
                }
            )
        )
    return rows


def micro_rows(labelled, slope, best=lambda quadrant: "demo"):
    generator = np.random.default_rng(1)
    return [
        MicroRow(
            snapshot_id=one.snapshot.id,
            group=one.snapshot.group,
            quadrant=one.quadrant,
            format=format_,
            learning_rate=1e-3,
            seed=0,
            elp=one.patches.elp.estimate,
            route=format_ == one.patches.route,
            log_probability=0.1,
            first_step_gain=slope * one.patches.elp.estimate
            + 0.05 * (best(one.quadrant) == format_)
            + 0.01 * float(generator.normal()),
            siblings=0.0,
            sibling_count=1,
            retention=0.0,
            loss=1.0,
        )
        for one in labelled
        for format_ in ("demo", "contrast", "hint")
    ]


def test_h1_finds_a_planted_difference_of_quadrants_and_none_where_there_is_none(scene):
    planted = analyse_h1(labelled_crowd(scene, 0.2))
    assert planted.verdict == "supported"
    assert dict(zip(planted.table.columns, planted.table.rows[0], strict=True))["moments"] == 40
    assert analyse_h1(labelled_crowd(scene, 0.0)).verdict != "supported"
    assert analyse_h1(labelled_crowd(scene, 0.2)[:20]).verdict == "cannot tell"


def test_h2_finds_a_planted_correlation_and_says_when_texts_mean_nothing(scene):
    labelled = labelled_crowd(scene, 0.2)
    strong = analyse_h2(pair_up(micro_rows(labelled, 1.0), labelled), draws=300)
    assert strong.verdict == "supported"
    assert "reliability of ELP" in strong.sentence
    null = analyse_h2(pair_up(micro_rows(labelled, 0.0), labelled), draws=300)
    assert null.verdict == "not supported"
    mute = analyse_h2(pair_up(micro_rows(labelled, 1.0), labelled), patches_work=False, draws=50)
    assert mute.verdict == "cannot tell"
    assert "Not testable" in mute.sentence


def test_h3_needs_another_best_format_somewhere(scene):
    labelled = labelled_crowd(scene, 0.0)
    mixed = micro_rows(labelled, 0.0, lambda quadrant: {"Q1": "hint", "Q4": "contrast"}.get(quadrant, "demo"))
    assert analyse_h3(mixed).verdict == "supported"
    assert "Q1 hint" in analyse_h3(mixed).sentence
    assert analyse_h3(micro_rows(labelled, 0.0)).verdict != "supported"


def panel_rows(own_gain):
    generator = np.random.default_rng(2)
    rows, plans = [], {}
    for quadrant in ("Q1", "Q2", "Q3", "Q4"):
        name = f"{quadrant}_demo_s0"
        plans[name] = RunPlan(run_id=name, quadrant=quadrant, format="demo", seed=0, snapshot_ids=())
    for moment in range(160):
        quadrant = ("Q1", "Q2", "Q3", "Q4")[moment % 4]
        for model in ("base", *plans):
            own = model.startswith(quadrant)
            for seed in range(3):
                success = bool(generator.random() < 0.3 + own_gain * own)
                rows.append(
                    EpisodeRow(
                        model=model,
                        dataset="panel",
                        task=moment,
                        group=f"g{moment}",
                        seed=seed,
                        quadrant=quadrant,
                        snapshot_id=f"{moment:016x}",
                        outcome="success" if success else "failure",
                        success=success,
                        ended=True,
                        reward=float(success),
                        steps=3,
                        repeat_rate=0.0,
                        loop=False,
                        state_loop=False,
                    )
                )
    return rows, plans


def test_h4_compares_own_with_other_quadrants():
    rows, plans = panel_rows(0.3)
    matrix = transfer_matrix(rows, plans, base="base")
    assert analyse_h4(rows, plans, matrix).verdict == "supported"
    rows, plans = panel_rows(0.0)
    assert analyse_h4(rows, plans, transfer_matrix(rows, plans, base="base")).verdict != "supported"
    assert analyse_h4([], plans, []).verdict == "cannot tell"


def overall(model, delta, low, high, p):
    return OverallRow(
        model=model, policy="sampled", n=240, errors=0, success_rate=0.3 + delta, success_low=0.2, success_high=0.4,
        mean_reward=0.5, mean_steps=5, ended_share=0.9, delta=delta, delta_low=low, delta_high=high, p=p, p_holm=p,
        positive_flips=9, negative_flips=2, smallest_effect=0.06,
    )  # fmt: skip


def kept(model, drop, high):
    return RetentionRow(
        model=model, n=80, retention_success_rate=0.7, base_retention_success_rate=0.7 + drop, retention_drop=drop,
        drop_low=drop - 0.05, drop_high=high,
    )  # fmt: skip


def test_h5_needs_a_gain_and_retention():
    assert analyse_h5([overall("a", 0.1, 0.04, 0.16, 0.001)], [kept("a", 0.02, 0.07)]).verdict == "supported"
    assert analyse_h5([overall("a", 0.1, 0.04, 0.16, 0.001)], [kept("a", 0.2, 0.3)]).verdict == "cannot tell"
    assert analyse_h5([overall("a", 0.0, -0.02, 0.02, 1.0)], [kept("a", 0.0, 0.05)]).verdict == "not supported"
    assert analyse_h5([overall("a", 0.02, -0.02, 0.06, 0.4)], [kept("a", 0.0, 0.05)]).verdict == "cannot tell"
    few = overall("a", 0.0, 0.0, 0.0, 1.0).model_copy(update={"n": 8})
    assert analyse_h5([few], [kept("a", 0.0, 0.05)]).verdict == "cannot tell"
    assert "4 times of 5" in analyse_h5([overall("a", 0.0, -0.02, 0.02, 1.0)], []).sentence


def test_h6_asks_for_a_lead_over_the_best_free_score():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=300)
    groups = [f"g{i // 2}" for i in range(300)]
    scores = {
        "predictor": truth + generator.normal(size=300),
        "U": truth + 4 * generator.normal(size=300),
        "random": generator.random(300),
        "s1": truth,
    }
    assert analyse_h6(scores, truth, groups, free=["U", "random"], draws=300).verdict == "supported"
    worse = scores | {"predictor": generator.random(300)}
    found = analyse_h6(worse, truth, groups, free=["U", "random"], draws=300)
    assert found.verdict == "not supported"
    assert [row[0] for row in found.table.rows] == list(scores)
    small = {name: values[:20] for name, values in worse.items()}
    assert analyse_h6(small, truth[:20], groups[:20], free=["U"], draws=300).verdict == "cannot tell"


def lead(rival, low, high, p):
    return Lead(method="predictor", rival=rival, delta=(low + high) / 2, low=low, high=high, p=p, p_holm=p)


def arm(method, success, prompts=0):
    return SelectionRow(
        method=method, n_selected=80, n_examples=160, uncertainty_mean=0.2, elp_mean=0.1, label_prompts=prompts,
        success_rate=success, retention_drop=0.01,
    )  # fmt: skip


def test_h7_needs_a_lead_over_every_rival():
    good = [lead("random", 0.02, 0.08, 0.001), lead("entropy", 0.01, 0.07, 0.01)]
    rows = [arm("predictor", 0.4, 5000), arm("random", 0.35), arm("random_cost", 0.36, 5000)]
    assert analyse_h7(rows, good).verdict == "supported"
    assert analyse_h7(rows, [*good, lead("random_cost", -0.05, 0.02, 0.5)]).verdict == "not supported"
    assert analyse_h7(rows, [*good, lead("random_cost", -0.05, 0.02, 0.5)], tasks=40).verdict == "cannot tell"
    assert analyse_h7(rows, [*good, lead("random_cost", -0.02, 0.05, 0.5)]).verdict == "cannot tell"
    assert analyse_h7(rows, []).verdict == "cannot tell"


def test_every_hypothesis_has_a_figure(scene, tmp_path):
    labelled = labelled_crowd(scene, 0.2)
    micro = micro_rows(labelled, 1.0)
    rows, plans = panel_rows(0.3)
    scores = {"predictor": np.random.default_rng(0).random(50), "U": np.random.default_rng(1).random(50)}
    drawn = [
        draw_h1(labelled, THRESHOLDS),
        draw_h2(pair_up(micro, labelled)),
        draw_h3(micro),
        draw_h4(transfer_matrix(rows, plans, base="base")),
        draw_h5([overall("a", 0.1, 0.04, 0.16, 0.001)], [kept("a", 0.02, 0.07)]),
        draw_h6(scores, np.linspace(-1, 1, 50)),
        draw_h7([arm("predictor", 0.4, 5000), arm("random", 0.35)]),
    ]
    for number, figure in enumerate(drawn):
        figure.savefig(tmp_path / f"{number}.svg")
        assert (tmp_path / f"{number}.svg").stat().st_size > 2000
