"""How the small student learns to read tips: trained on from the packaged one, on pages of its own episodes.

Half of the tips that name an action name a random one, which becomes the one to learn, so that only who reads the tip
can answer. Where a tip decides nothing, and where there is none, the student learns its own distribution of before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from experiments.teaching.dynamics import ShopDynamics
from experiments.teaching.settings import StudentSettings
from experiments.teaching.student import open_policy, render
from experiments.teaching.teachers import GoalTeacher, hint_for
from experiments.teaching.world import goal_tasks, open_shop, split_goals
from sightline.agents.grammar import webshop_grammar
from sightline.agents.student import PACKAGED_STUDENT, StudentExample, StudentReport, StudentTrainingConfig, train_student
from sightline.teachability import Episode, Snapshot, StateView, TeacherHint, collect_episodes
from sightline.teachability.mining import take_snapshot
from sightline.teachability.records import PatchKind
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
_GOALS = 500


@dataclass(frozen=True, slots=True)
class Moment:
    """A page of an episode, and what is known of it.

    Attributes:
        snapshot: the page.
        own: the student's distribution there.
        best: the action of who knows the goal.
    """

    snapshot: Snapshot
    own: tuple[float, ...]
    best: str


def train_tip_student(
    settings: StudentSettings, folder: Path, *, examples: int, training: StudentTrainingConfig, goals: int = _GOALS
) -> StudentReport:
    """Train the packaged student on, on goals of the training split, and write it into a folder.

    Args:
        settings: shop and seed.
        folder: folder for the model; must not exist or be empty.
        examples: number of examples.
        training: size (the packaged student's) and training.
        goals: training goals whose pages are used.
    """
    dynamics = open_shop(settings)
    policy = open_policy(settings.model_copy(update={"model": str(PACKAGED_STUDENT)}))
    tasks = goal_tasks(dynamics, split_goals(dynamics, "train")[:goals])
    episodes = collect_episodes(dynamics, policy, tasks, seed=settings.seed, rollouts=range(2))
    moments = find_moments(dynamics, episodes)
    generator = np.random.default_rng(settings.seed)
    return train_student(
        [make_example(moments, generator) for _ in range(examples)],
        webshop_grammar,
        training,
        folder,
        start_from=PACKAGED_STUDENT,
        command="uv run apps/teachability.py tip-student",
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
