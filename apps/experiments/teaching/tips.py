"""How the small student learns to read tips: trained on from the packaged one, on pages of its own episodes.

Half of the tips that name an action name a random one, which becomes the one to learn, so that only who reads the tip
can answer. Where a tip decides nothing, and where there is none, the student learns its own distribution of before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from experiments.teaching.labelling import ANSWER_READ, PLACEBO_CHANGE
from experiments.teaching.settings import Stage, TipStudentSettings
from experiments.teaching.student import open_policy, render
from experiments.teaching.teachers import GoalTeacher, hint_for
from experiments.teaching.world import ShopDynamics, goal_tasks, open_shop, split_goals
from lab.run import RunDirectory, write_text
from sightline.agents.grammar import webshop_grammar
from sightline.agents.student import (
    PACKAGED_STUDENT,
    StudentExample,
    StudentTrainingConfig,
    train_student,
)
from sightline.teachability import ActionPolicy, Episode, Snapshot, StateView, TeacherHint, collect_episodes
from sightline.teachability.jsonl import parse_record
from sightline.teachability.mining import take_snapshot
from sightline.teachability.records import PatchKind, Record
from sightline.teachability.statistics import cluster_mean
from sightline.teachability.supervision import PatchTemplates, render_patch

Kind = PatchKind | None

MIXTURE: Final[dict[Kind, float]] = {
    None: 0.34,
    "placebo": 0.08,
    "mismatched": 0.1,
    "answer": 0.14,
    "demo": 0.13,
    "contrast": 0.13,
    "hint": 0.08,
}
"""Share of each kind of tip; None: no tip."""

_RANDOM_SHARE = 0.5
_WARMUP = 15

MOST_LOST = 0.03
"""Greedy success without tips that a student may lose by learning to read them."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A page of an episode, and what is known of it."""

    snapshot: Snapshot
    """The page."""
    own: tuple[float, ...]
    """The student's distribution there."""
    best: str
    """The action of who knows the goal."""


class TipStudentGate(Record):
    """Whether a student that reads tips may be shipped, on goals that it was not trained on."""

    schema_version: Literal[1] = 1
    numbers: dict[str, float]
    """What was measured."""
    passed: bool
    """Whether every rule holds."""
    reason: str
    """What does not."""
    caption: str
    """What the numbers are."""


def train_stage(settings: TipStudentSettings, run: RunDirectory) -> Path:
    """Return the folder of the packaged student trained on, on pages of its own episodes on training goals."""

    def compute(folder: Path) -> None:
        dynamics = open_shop(settings)
        moments = _play(settings, str(PACKAGED_STUDENT), split_goals(dynamics, "train")[: settings.goals], rollouts=2)
        generator = np.random.default_rng(settings.seed)
        train_student(
            [make_example(moments, generator) for _ in range(settings.examples)],
            webshop_grammar,
            StudentTrainingConfig(
                steps=settings.steps, learning_rate=settings.learning_rate, warmup=_WARMUP, reading=0
            ),
            folder / "model",
            start_from=PACKAGED_STUDENT,
            checkpoint=run.work_folder(Stage.STUDENT) / "checkpoint.safetensors",
            command="uv run apps/teachability.py tip-student",
        )

    return run.stage(Stage.STUDENT, compute) / "model"


def gate_stage(settings: TipStudentSettings, run: RunDirectory, model: Path) -> TipStudentGate:
    """Return whether the trained student reads tips, and does as well without them as the packaged one."""

    def compute(folder: Path) -> None:
        write_text(folder / "gate.json", judge(settings, model).model_dump_json(indent=1) + "\n")

    file = run.stage(Stage.STUDENT, compute, "gate") / "gate.json"
    return parse_record(TipStudentGate, file.read_bytes(), where=str(file))


def judge(settings: TipStudentSettings, model: Path) -> TipStudentGate:
    """Measure a student on development goals."""
    dynamics = open_shop(settings)
    goals = split_goals(dynamics, "dev")[: settings.gate_goals]
    tasks = goal_tasks(dynamics, goals)
    success = {}
    for name, path in (("packaged", str(PACKAGED_STUDENT)), ("tips", str(model))):
        policy = open_policy(settings.model_copy(update={"model": path}))
        played = collect_episodes(dynamics, policy, tasks, seed=0, greedy=True)
        success[name] = np.array([one.outcome == "success" for one in played], dtype=np.float64)
    lost = cluster_mean(success["packaged"] - success["tips"], [task.group for task in tasks], seed=settings.seed)
    moments = _play(settings, str(PACKAGED_STUDENT), goals, rollouts=1)
    numbers = {
        "greedy success, packaged": float(success["packaged"].mean()),
        "greedy success, reads tips": float(success["tips"].mean()),
        "lost": lost.value,
        "lost, low": lost.low,
        "lost, high": lost.high,
        **followed(moments, open_policy(settings.model_copy(update={"model": str(model)})), seed=settings.seed),
    }
    failed = [
        reason
        for reason, holds in (
            (f"it loses {100 * lost.value:.1f} points of greedy success", lost.value <= MOST_LOST),
            (f"it follows {numbers['answer']:.2f} of bare answers", numbers["answer"] >= ANSWER_READ),
            ("a placebo changes what it does", abs(numbers["placebo"] - numbers["none"]) <= PLACEBO_CHANGE),
            ("it follows demonstrations of other pages", numbers["mismatched"] < numbers["demo"]),
        )
        if not holds
    ]
    caption = (
        f"Greedy success on {len(tasks)} goals, the difference paired by goal with products resampled; below, the mean "
        f"probability of a random action of each of {len(moments)} pages: without a tip, and when the tip names it."
    )
    return TipStudentGate(numbers=numbers, passed=not failed, reason="; ".join(failed), caption=caption)


def followed(moments: Sequence[Moment], policy: ActionPolicy, *, seed: int) -> dict[str, float]:
    """Return the mean probability of a random action of each page, without a tip and under each kind that names it."""
    generator = np.random.default_rng(seed)
    named = [one.snapshot.actions[int(generator.integers(len(one.snapshot.actions)))] for one in moments]
    views = [snapshot_view(one.snapshot) for one in moments]
    found = {}
    for kind in MIXTURE:
        tips = [
            None if kind is None else _tip(kind, one, hint_for(action), moments, generator)[0]
            for one, action in zip(moments, named, strict=True)
        ]
        answers = policy.distributions(views, tips)
        chances = [a[one.snapshot.actions.index(n)] for one, n, a in zip(moments, named, answers, strict=True)]
        found[kind or "none"] = float(np.mean(chances))
    return found


def _play(settings: TipStudentSettings, model: str, goals: Sequence[int], *, rollouts: int) -> list[Moment]:
    """Return pages of a student's own episodes."""
    dynamics = open_shop(settings)
    policy = open_policy(settings.model_copy(update={"model": model}))
    tasks = goal_tasks(dynamics, goals)
    return find_moments(
        dynamics, collect_episodes(dynamics, policy, tasks, seed=settings.seed, rollouts=range(rollouts))
    )


def find_moments(dynamics: ShopDynamics, episodes: Sequence[Episode]) -> list[Moment]:
    """Return the distinct pages of episodes on which something can be chosen and the best action is a candidate."""
    teacher = GoalTeacher(dynamics)
    found: dict[str, Moment] = {}
    for episode in episodes:
        for position, step in enumerate(episode.steps):
            snapshot = take_snapshot(episode, position, mined_by="tips")
            (best,) = teacher.act([dynamics.decode(snapshot.state_bytes)])
            if len(step.actions) > 1 and best in step.actions:
                found.setdefault(snapshot.id, Moment(snapshot, step.probabilities, best))
    return list(found.values())


def make_example(moments: Sequence[Moment], generator: np.random.Generator) -> StudentExample:
    """Return an example of a random page with a random kind of tip."""
    kinds = list(MIXTURE)
    kind = kinds[int(generator.choice(len(kinds), p=list(MIXTURE.values())))]
    moment = moments[int(generator.integers(len(moments)))]
    actions = moment.snapshot.actions
    named = moment.best
    if generator.random() < _RANDOM_SHARE:
        named = actions[int(generator.integers(len(actions)))]
    tip, target = _tip(kind, moment, hint_for(named), moments, generator)
    prompt, shown = render(snapshot_view(moment.snapshot), tip)
    return StudentExample(prompt, tuple(shown), actions.index(named), target)


def snapshot_view(snapshot: Snapshot) -> StateView:
    """Return what the student sees at a snapshot."""
    return StateView(snapshot.instruction, snapshot.observation, snapshot.actions, kind=snapshot.kind)


def _tip(
    kind: Kind, moment: Moment, hint: TeacherHint, moments: Sequence[Moment], generator: np.random.Generator
) -> tuple[str | None, tuple[float, ...] | None]:
    """Return the text of a tip, and the distribution to learn; None for all on the named action."""
    if kind is None:
        return None, moment.own
    templates = PatchTemplates()
    source, shown = moment.snapshot, hint
    if kind == "mismatched":
        other = moments[int(generator.integers(len(moments)))]
        source, shown = other.snapshot, hint_for(other.best)
    others = [action for action in moment.snapshot.actions if action != shown.action]
    avoid = others[int(generator.integers(len(others)))]
    number = int(generator.integers(templates.paraphrases))
    text = render_patch(kind, source, shown, templates, paraphrase=number, avoid=avoid)
    if kind in ("placebo", "mismatched"):
        return text, moment.own
    if kind == "hint":
        return text, _of_kind(moment, hint.action)
    return text, None


def _of_kind(moment: Moment, action: str) -> tuple[float, ...]:
    """Return the student's own distribution among actions of one kind, which is what a hint without names can say."""
    wanted = webshop_grammar.action_type(action)
    same = np.array([webshop_grammar.action_type(one) == wanted for one in moment.snapshot.actions])
    weights = np.where(same, np.maximum(moment.own, 1e-6), 0.0)
    return tuple((weights / weights.sum()).tolist())
