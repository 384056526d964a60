"""What the experiment with a student that grows found, in tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from experiments.growth.student.arms import Arm, StudentRecord
from experiments.growth.student.examples import Yardsticks
from experiments.growth.student.networks import BLOCK, FEED_FORWARD
from experiments.growth.student.settings import GrownStudentSettings
from lab.figures import differences_with_intervals, save_figure
from lab.report import Report, Section
from sightline.agents import Table
from sightline.agents.evaluation import Interval, bootstrap_interval, show_interval
from sightline.tamiyo_policy.hosts import NOOP, Stage

Measure = Literal["test_loss", "test_agreement"]

_MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)
_NAMES: Final = {NOOP: "nothing", BLOCK: "block", FEED_FORWARD: "feed-forward"}
_TRANSFER: Final = (
    "What is tested is transfer without any training on the target: policies learned on token hosts of a few hundred "
    "parameters, and act on a transformer in the shop as they are."
)


@dataclass(frozen=True)
class GrownStudents:
    """What was measured."""

    settings: GrownStudentSettings
    """Settings of the run."""
    records: Mapping[Arm, list[StudentRecord]]
    """Trainings of each arm, in the order of the seeds."""
    yardsticks: Yardsticks
    """What guessing and knowing the targets would reach on the test part."""

    def values(self, arm: Arm, measure: Measure) -> NDArray[np.float64]:
        """Return `[goals, seeds]`, means over the decisions of each test goal."""
        columns = [getattr(record, measure) for record in self.records[arm]]
        return np.array([[column[goal] for column in columns] for goal in sorted(columns[0])])

    @cached_property
    def means(self) -> dict[Arm, dict[Measure, Interval]]:
        """Every arm's means over test goals and seeds."""
        return {arm: {measure: self._interval(self.values(arm, measure)) for measure in _MEASURES} for arm in Arm}

    @cached_property
    def differences(self) -> dict[Arm, dict[Measure, Interval]]:
        """The policy's students minus those of every other arm, paired by goal and seed.

        Equal seeds are pairs here: they fix the order of batches, the compute, and for students that begin small the
        first weights.
        """
        own = {measure: self.values(Arm.LEARNED, measure) for measure in _MEASURES}
        return {
            arm: {measure: self._interval(own[measure] - self.values(arm, measure)) for measure in _MEASURES}
            for arm in Arm
            if arm is not Arm.LEARNED
        }

    def _interval(self, values: NDArray[np.float64]) -> Interval:
        return bootstrap_interval(values, np.random.default_rng(self.settings.seed))

    def claims(self) -> list[str]:
        """Return the answer in sentences, whatever it is."""
        losses = {arm: intervals["test_loss"] for arm, intervals in self.differences.items()}
        said = {arm: f"{_verdict(loss)} that of the arm '{arm}'" for arm, loss in losses.items()}
        shown = {arm: show_interval(loss, "+.3f") for arm, loss in losses.items()}
        return [
            f"At equal compute, a student {Arm.LEARNED} has a loss on the test goals that is {said[Arm.FINAL]} "
            f"({shown[Arm.FINAL]} nats) and {said[Arm.SMALL]} ({shown[Arm.SMALL]}). Brackets hold 95 % intervals; "
            f"resampled: {losses[Arm.FINAL].resampled}.",
            *(f"It is {said[arm]} ({shown[arm]})." for arm in losses if arm not in (Arm.FINAL, Arm.SMALL)),
            _TRANSFER,
        ]


def _verdict(difference: Interval) -> str:
    """Return what an interval of losses allows to say."""
    if difference.low <= 0 <= difference.high:
        return "not to be told apart from"
    return "below" if difference.value < 0 else "above"


def arms_table(students: GrownStudents) -> Table:
    """Return how every arm did, and what it took."""
    rows = []
    for arm, records in students.records.items():
        spent = [record.spent / record.compute for record in records]
        rows.append(
            (
                arm.value,
                *(show_interval(students.means[arm][measure], ".3f") for measure in _MEASURES),
                f"{np.mean([record.validation_loss for record in records]):.3f}",
                f"{np.mean([record.parameters for record in records]):,.0f}",
                f"{np.mean([record.steps for record in records]):.0f}",
                f"{min(spent):.3f} to {max(spent):.3f}",
                f"{np.mean([record.looked / record.compute for record in records]):.2f}",
            )
        )
    return Table(
        columns=(
            "arm", "test loss, nats", "agreement", "validation loss", "parameters at the end", "steps",
            "compute spent", "validations, not charged",
        ),
        rows=tuple(rows),
        caption="Loss is the cross-entropy of soft targets over the candidates, agreement the share of decisions at "
        "which a best action is the most probable. Guessing evenly loses "
        f"{students.yardsticks.guessing_loss:.3f} and agrees at {students.yardsticks.guessing_agreement:.3f}; no loss "
        f"is below the targets' entropy, {students.yardsticks.least_loss:.3f}. Means over test goals and seeds; 95 % "
        "bootstrap intervals resample both. Compute is counted in floating-point operations of matrix products, as a "
        "multiple of what the final size from the start may spend.",
    )  # fmt: skip


def differences_table(students: GrownStudents) -> Table:
    """Return the policy's students minus the others."""
    return Table(
        columns=("grown by the policy minus", "test loss, nats", "agreement", "resampled"),
        rows=tuple(
            (
                arm.value,
                *(show_interval(intervals[measure], "+.3f") for measure in _MEASURES),
                intervals["test_loss"].resampled,
            )
            for arm, intervals in students.differences.items()
        ),
        caption="Paired by goal and seed; less loss is better. 95 % bootstrap intervals, without adjustment.",
    )


def growth_table(students: GrownStudents) -> Table:
    """Return what stood in the places at the end, and from which decision on the students learned with it."""
    rows = []
    for arm in (Arm.LEARNED, Arm.FIFTEEN):
        for record in students.records[arm]:
            places = [
                f"{_NAMES[blueprint]}{_since(stages)}"
                for blueprint, stages in zip(record.topology, record.stages, strict=True)
            ]
            rows.append((arm.value, str(record.seed), *places, str(record.rollbacks)))
    return Table(
        columns=("arm", "seed", "before the first block", "among the blocks", "behind the last", "rollbacks"),
        rows=tuple(rows),
        caption=f"Decisions are numbered from 0 to {students.settings.epochs - 1}; the arm "
        f"'{Arm.HALFWAY}' plants at decision {students.settings.epochs // 2}, in the last places.",
    )


def _since(stages: str) -> str:
    """Return when what stands in a place at the end was planted; nothing where there is nothing."""
    empty = {f"{int(stage):x}" for stage in Stage} - {
        f"{int(stage):x}"
        for stage in (Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED)
    }
    planted = len(stages) - next((at for at, stage in enumerate(reversed(stages)) if stage in empty), len(stages))
    return f" since {planted}" if planted < len(stages) else ""


def results(students: GrownStudents) -> dict[str, Any]:
    """Return what was found, for `results.json`."""
    return {
        "claims": students.claims(),
        "yardsticks": students.yardsticks._asdict(),
        "arms": [
            {
                "arm": arm.value,
                **_as_dicts(students.means[arm]),
                "trainings": [record.model_dump(mode="json") for record in records],
            }
            for arm, records in students.records.items()
        ],
        "comparisons": [
            {"baseline": arm.value, **_as_dicts(intervals)} for arm, intervals in students.differences.items()
        ],
    }


def _as_dicts(intervals: Mapping[Measure, Interval]) -> dict[str, Any]:
    return {measure: asdict(interval) for measure, interval in intervals.items()}


def write_report(students: GrownStudents, plots: Path) -> Report:
    """Return the report, and draw its figure into a folder."""
    losses = {arm.value: intervals["test_loss"] for arm, intervals in students.differences.items()}
    drawing = differences_with_intervals(losses, "test loss of students grown by the policy minus the arm's, nats")
    figure = save_figure(drawing, plots / "differences.svg")
    tables = (differences_table(students), arms_table(students), growth_table(students))
    claims = students.claims()
    return Report(
        "Does a policy that learned on token hosts know when and where the shop's student should grow?",
        claims,
        tables,
        (
            Section("At equal compute", tuple(claims[1:]), tables[:2], (figure,)),
            Section("What grew", (), tables[2:]),
        ),
    )
