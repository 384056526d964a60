"""What the moments are worth: values, leverage, tips, depth; the map's thresholds; whether tips mean anything.

Moments are labelled in rounds until every quadrant is full. Thresholds come from the calibration goals alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.teaching.moments import MOMENTS, shuffled, uncertainty_of
from experiments.teaching.parts import Part, chunks, spread
from experiments.teaching.settings import Stage, TeachingSettings
from experiments.teaching.student import open_policy
from experiments.teaching.teachers import open_teacher
from experiments.teaching.world import open_shop
from lab.jobs import Workers
from lab.run import RunDirectory, write_text
from sightline.teachability import (
    Episode,
    LabelledSnapshot,
    Labeller,
    LabelSettings,
    TeacherHint,
    assign_quadrants,
    calibrate_thresholds,
)
from sightline.teachability.jsonl import parse_record, read_jsonl, write_jsonl
from sightline.teachability.labels import Thresholds, read_thresholds, write_thresholds
from sightline.teachability.records import QUADRANTS, PatchKind, Record

LABELLED, THRESHOLDS, GATE = "labeled_snapshots.jsonl", "thresholds.json", "tip_gate.json"
OFF_THE_MAP = ("index",)
"""Kinds of page on which the student hardly ever errs: they stay outside the quadrants, as controls."""

_MOMENTS_A_PART = 4
_ROUND = 48
_CONTROLS = 8
"""One moment outside the map for so many on it."""

ANSWER_READ, PLACEBO_CHANGE = 0.6, 0.02
"""What the gate asks of tips: the bare answer is followed so often, and a placebo changes so little."""


class TipGate(Record):
    """Whether tips mean something to the student, on the calibration moments."""

    schema_version: Literal[1] = 1
    moments: int
    """Moments that were looked at."""
    followed: dict[str, float]
    """Mean probability of the teacher's action without a tip and under each kind of tip."""
    passed: bool
    """Whether the rules of the gate hold; if not, nothing is said about tips."""
    reason: str = ""
    """What does not hold."""


def label_stages(
    settings: TeachingSettings,
    run: RunDirectory,
    workers: Workers,
    episodes: Sequence[Episode],
    hinted: Sequence[LabelledSnapshot],
) -> tuple[list[LabelledSnapshot], Thresholds]:
    """Return the labelled moments of all splits with their quadrants, and the thresholds."""
    by_id = {episode.id: episode for episode in episodes}
    pool = run.stage_folder(Stage.MOMENTS) / MOMENTS
    ordered = sorted((one for one in hinted if isinstance(one.hint, TeacherHint)), key=lambda o: shuffled(o.snapshot))

    def label(chosen: Sequence[LabelledSnapshot], variant: str, audited: int = 0) -> list[LabelledSnapshot]:
        names = frozenset(one.snapshot.id for one in chosen[:audited])
        parts = [
            Part(
                f"part{number}",
                len(some),
                label_part,
                (settings, some, tuple(by_id[name] for name in sorted({s.snapshot.trajectory_id for s in some})),
                 pool, names),
            )
            for number, some in enumerate(chunks(list(chosen), _MOMENTS_A_PART))
        ]  # fmt: skip
        return spread(run, workers, Stage.LABELS, parts, LabelledSnapshot, variant)

    def candidates(split: str, count: int) -> list[LabelledSnapshot]:
        of_split = [one for one in ordered if one.split == split]
        on = [one for one in of_split if one.snapshot.kind not in OFF_THE_MAP]
        off = [one for one in of_split if one.snapshot.kind in OFF_THE_MAP]
        controls = min(count // _CONTROLS, len(off))
        return [*on[: count - controls], *off[:controls]]

    calibration = label(candidates("calibration", settings.calibration_moments), "calibration", settings.audit_moments)
    thresholds = calibrate_thresholds(calibration, leave_out=OFF_THE_MAP)
    panel = label(candidates("panel", settings.panel_candidates), "panel")
    wanted = balanced(settings, candidates("label", len(ordered)), by_id, thresholds)[: settings.label_moments]
    found: list[LabelledSnapshot] = []
    for number, some in enumerate(chunks(wanted, _ROUND)):
        counts = Counter(one.quadrant for one in assign_quadrants(found, thresholds, leave_out=OFF_THE_MAP))
        if all(counts[quadrant] >= settings.cell for quadrant in QUADRANTS):
            break
        found += label(some, f"round{number}")

    def compute(folder: Path) -> None:
        write_thresholds(folder / THRESHOLDS, thresholds)
        rows = assign_quadrants([*found, *calibration, *panel], thresholds, leave_out=OFF_THE_MAP)
        write_jsonl(folder / LABELLED, rows)

    folder = run.stage(Stage.LABELS, compute)
    return read_jsonl(folder / LABELLED, LabelledSnapshot), read_thresholds(folder / THRESHOLDS)


def balanced(
    settings: TeachingSettings,
    candidates: Sequence[LabelledSnapshot],
    episodes: dict[str, Episode],
    thresholds: Thresholds,
) -> list[LabelledSnapshot]:
    """Return candidates in turns of high and low U, which is known before anything is labelled."""
    high = [one for one in candidates if uncertainty_of(settings, one, episodes) >= thresholds.u]
    names = {one.snapshot.id for one in high}
    low = [one for one in candidates if one.snapshot.id not in names]
    turns = [one for pair in zip(high, low, strict=False) for one in pair]
    return [*turns, *high[len(low) :], *low[len(high) :]]


def label_part(
    settings: TeachingSettings,
    hinted: Sequence[LabelledSnapshot],
    episodes: Sequence[Episode],
    pool: Path,
    audited: frozenset[str],
    _: Path,
) -> list[LabelledSnapshot]:
    """Label some moments, in a worker.

    Args:
        settings: settings of the experiment.
        hinted: moments with hints.
        episodes: those they come from.
        pool: file of all moments with hints, for demonstrations that do not fit.
        audited: moments at which tips are also shown at every step.
    """
    dynamics = open_shop(settings)
    labeller = Labeller(
        dynamics,
        open_policy(settings),
        open_teacher(settings, dynamics),
        seed=settings.seed,
        settings=LabelSettings(
            tolerance=settings.tolerance,
            max_prompts=settings.max_prompts,
            most_pairs=settings.most_pairs,
            temperature=settings.temperature,
            depth=settings.teacher == "goal",  # another teacher would be asked at every step of the episode
        ),
    )
    return labeller.measure(hinted, episodes, audit=audited, pool=_read_pool(pool))


@lru_cache(maxsize=1)
def _read_pool(path: Path) -> list[LabelledSnapshot]:
    return read_jsonl(path, LabelledSnapshot)


def tip_gate_stage(run: RunDirectory, labelled: Sequence[LabelledSnapshot]) -> TipGate:
    """Return whether tips mean something to the student, judged on the calibration moments alone."""

    def compute(folder: Path) -> None:
        write_text(folder / GATE, judge_tips(labelled).model_dump_json(indent=1) + "\n")

    file = run.stage(Stage.PATCHES, compute) / GATE
    return parse_record(TipGate, file.read_bytes(), where=str(file))


def judge_tips(labelled: Sequence[LabelledSnapshot]) -> TipGate:
    """Return the gate's judgement of calibration moments with a hint."""
    seen = [one for one in labelled if one.split == "calibration" and one.patches and one.uncertainty and one.hint]
    kinds: tuple[PatchKind, ...] = ("placebo", "mismatched", "answer", "demo", "contrast", "hint")
    followed = {"none": _mean([one.uncertainty.pi_teacher or 0.0 for one in seen if one.uncertainty])}
    followed |= {kind: _mean([p for one in seen for p in _followed(one, kind)]) for kind in kinds}
    failed = []
    if not seen:
        failed.append("no calibration moment was labelled")
    if not followed["answer"] >= ANSWER_READ:
        failed.append(f"the bare answer is followed with probability {followed['answer']:.2f}, below {ANSWER_READ}")
    if not abs(followed["placebo"] - followed["none"]) <= PLACEBO_CHANGE:
        failed.append(f"a placebo changes it from {followed['none']:.3f} to {followed['placebo']:.3f}")
    if not followed["mismatched"] < followed["demo"]:
        failed.append("a demonstration of another page does as much as one of this page")
    return TipGate(moments=len(seen), followed=followed, passed=not failed, reason="; ".join(failed))


def _followed(one: LabelledSnapshot, kind: PatchKind) -> list[float]:
    assert one.patches is not None
    position = one.snapshot.actions.index(one.teacher_action or "")
    return [effect.probabilities[position] for effect in one.patches.effects if effect.kind == kind]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
