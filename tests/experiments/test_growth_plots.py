from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.growth.plots import (
    action_mix,
    entropy_curves,
    growth_timeline,
    score_curves,
)
from sightline.tamiyo_policy.experiment import GrowthRecord

ROWS = [
    {
        "round": 1.0 + at,
        "score": 50.0 + at,
        "entropy/op": 0.9,
        "entropy/slot": 0.8,
        "operation/wait": 0.25,
        "operation/prune": 0.75,
    }
    for at in range(3)
]
RECORD = GrowthRecord(
    family="A", seed=1, score=80, accuracy=82, parameters=17, topology=(3, 0), stages=("1122334677", "1111111111")
)


def drawn(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg")
    return file.getvalue()


def labels(figure: Figure) -> list[str]:
    (axes,) = figure.axes
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_scores_show_every_seed_their_mean_and_levels():
    figure = score_curves({"learned": [ROWS, ROWS[::-1]]}, {"no growth": 40.0})
    lines = figure.axes[0].get_lines()
    assert [np.asarray(line.get_ydata())[0] for line in lines] == [50.0, 52.0, 51.0, 40.0]
    assert labels(figure) == ["learned", "no growth"]
    assert "svg" in drawn(figure)


def test_entropies_have_a_line_per_head():
    figure = entropy_curves([ROWS])
    assert labels(figure) == ["op", "slot"]
    assert np.asarray(figure.axes[0].get_lines()[1].get_ydata()) == pytest.approx([0.8] * 3)


def test_the_mix_of_actions_fills_the_whole_height():
    figure = action_mix([ROWS])
    assert labels(figure) == ["wait", "prune"]
    tops = [np.asarray(area.get_paths()[0].vertices)[:, 1].max() for area in figure.axes[0].collections]
    assert tops == pytest.approx([25, 100])


def test_the_timeline_has_a_row_per_slot_and_names_what_was_grown():
    figure = growth_timeline([RECORD, RECORD], {3: "norm"})
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["A · slot 0 · norm", "A · slot 1"] * 2
    assert axes.images[0].get_size() == (4, 10)
    assert "fossilized" in labels(figure)
    assert "pruned" not in labels(figure)
    assert "svg" in drawn(figure)


def test_a_timeline_without_steps_is_refused():
    with pytest.raises(ValueError, match="step by step"):
        growth_timeline([RECORD.model_copy(update={"stages": ()})], {})
