"""One pass over snapshots: hint, uncertainty, values, depth, first-order scores, teaching texts.

What is found for a snapshot depends on the snapshots of its own task alone (and on the hint of one other, for the
mismatched demo), so tasks can be labelled anywhere and in any order. This module knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic

from pydantic import Field

from sightline.teachability.errors import DynamicsError
from sightline.teachability.labels.depth import measure_depth
from sightline.teachability.labels.leverage import Question, first_order, measure_values, play_out
from sightline.teachability.labels.patches import Moment, avoided, measure_patches, render_all
from sightline.teachability.labels.uncertainty import measure_uncertainty
from sightline.teachability.ledger import Ledger
from sightline.teachability.mining.records import Episode
from sightline.teachability.protocols import ActionPolicy, Dynamics, S, Teacher, ask_policy, guarded_view
from sightline.teachability.records import (
    PATCH_FORMATS,
    Bound,
    DepthLabels,
    LabelledSnapshot,
    PatchKind,
    Record,
    Snapshot,
    TeacherHint,
)
from sightline.teachability.supervision.formats import PatchTemplates
from sightline.teachability.supervision.hints import ask_teacher, grade_hint
from sightline.teachability.values.graph import ValueGraph
from sightline.teachability.values.sampling import Noise


class LabelSettings(Record):
    """How snapshots are labelled."""

    tolerance: float = Field(0.03, ge=0)
    """Gap at which a value is known well enough."""
    max_prompts: int = Field(160, ge=1)
    """Most policy answers for the values of a snapshot and, from what is left, those of its episode."""
    threshold: float = 0.05
    """Level of L_local that sampling tries to decide."""
    most_pairs: int = Field(64, ge=4)
    """Most coupled episodes for that, at least 4; undecided moments cost as many again for their values."""
    depth: bool = True
    """Whether to look how far back the episode could be saved; it needs the episodes."""
    patches: bool = True
    """Whether to try teaching texts."""
    templates: PatchTemplates = Field(default_factory=PatchTemplates)
    """Their wordings."""
    temperature: float | None = None
    """Temperature that the policy samples at, for the record."""


class Labeller(Generic[S]):
    """Labels snapshots of one student with one teacher.

    Args:
        dynamics: the environment.
        policy: the student; it is scored as it acts.
        teacher: gives hints, and takes over for L_upper where it can.
        seed: seed of sampled episodes.
        settings: what is measured and how well.
        ledger: where costs are counted.
    """

    def __init__(
        self,
        dynamics: Dynamics[S],
        policy: ActionPolicy,
        teacher: Teacher[S],
        *,
        seed: int = 0,
        settings: LabelSettings | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.dynamics = dynamics
        self.policy = policy
        self.teacher = teacher
        self.seed = seed
        self.settings = settings or LabelSettings()
        self.ledger = ledger or Ledger()

    def label(
        self, snapshots: Sequence[Snapshot], episodes: Iterable[Episode] = (), *, audit: Iterable[str] = ()
    ) -> list[LabelledSnapshot]:
        """Return the snapshots with everything measured, in their order.

        Args:
            snapshots: what was mined.
            episodes: those they come from; without them depth is not measured.
            audit: ids of snapshots that get the full number of sampled pairs, and teaching texts at every step.
        """
        hinted = self.advise(snapshots)
        return self.measure(hinted, episodes, audit=audit, pool=hinted)

    def advise(self, snapshots: Sequence[Snapshot]) -> list[LabelledSnapshot]:
        """Return the snapshots with the teacher's hints alone, and those whose state cannot be shown as error rows."""
        rows = [LabelledSnapshot(snapshot=one, policy=self.policy.fingerprint) for one in snapshots]
        views, states, places = [], [], []
        for place, snapshot in enumerate(snapshots):
            state = self.dynamics.decode(snapshot.state_bytes)
            try:
                view = guarded_view(self.dynamics, state)
            except DynamicsError as failure:
                rows[place] = rows[place].model_copy(update={"error": str(failure)})
                continue
            if not view.actions or self.dynamics.steps_left(state) < 1:
                rows[place] = rows[place].model_copy(update={"error": "nothing can be done in this state"})
                continue
            views.append(view)
            states.append(state)
            places.append(place)
        hints = ask_teacher(self.teacher, views, states, ledger=self.ledger)
        for place, hint in zip(places, hints, strict=True):
            rows[place] = rows[place].model_copy(update={"hint": hint})
        return rows

    def measure(
        self,
        hinted: Sequence[LabelledSnapshot],
        episodes: Iterable[Episode] = (),
        *,
        audit: Iterable[str] = (),
        pool: Sequence[LabelledSnapshot] = (),
    ) -> list[LabelledSnapshot]:
        """Return hinted snapshots with the rest measured, one graph for each task.

        Args:
            hinted: hinted from `advise`.
            episodes: those they come from.
            audit: ids of snapshots that are measured more thoroughly.
            pool: hinted snapshots among which mismatched demos are looked for; the same pool, the same demos.
        """
        by_id = {episode.id: episode for episode in episodes}
        thorough = frozenset(audit)
        others = _Mismatches(pool)
        rows: dict[int, LabelledSnapshot] = {}
        tasks: dict[int, list[int]] = {}
        for place, one in enumerate(hinted):
            tasks.setdefault(one.snapshot.task, []).append(place)
        for places in tasks.values():
            graph = self._graph(None)
            for place in places:
                one = hinted[place]
                episode = by_id.get(one.snapshot.trajectory_id)
                try:
                    found = self._measure(graph, one, episode, one.snapshot.id in thorough, others)
                except DynamicsError as failure:
                    found = one.model_copy(update={"error": str(failure)})
                rows[place] = found
        return [rows[place] for place in range(len(hinted))]

    def _graph(self, patch: str | None) -> ValueGraph[S]:
        return ValueGraph(
            self.dynamics,
            self.policy,
            tolerance=self.settings.tolerance,
            max_prompts=self.settings.max_prompts,
            patch=patch,
            ledger=self.ledger,
        )

    def _measure(
        self,
        graph: ValueGraph[S],
        one: LabelledSnapshot,
        episode: Episode | None,
        thorough: bool,
        others: _Mismatches,
    ) -> LabelledSnapshot:
        snapshot, hint = one.snapshot, one.hint
        if one.error is not None:
            return one
        state = self.dynamics.decode(snapshot.state_bytes)
        view = guarded_view(self.dynamics, state)
        probabilities = ask_policy(self.policy, [view], names=[f"snapshot {snapshot.id}"])[0]
        self.ledger.prompts += 1
        if not isinstance(hint, TeacherHint):
            unsure = measure_uncertainty(probabilities, temperature=self.settings.temperature)
            return one.model_copy(update={"uncertainty": unsure})
        chosen = view.actions.index(hint.action)
        expert = self._expert([state])[0]
        before = len(graph)
        question = Question(
            hint.action,
            snapshot.taken,
            self.settings.threshold,
            audit=thorough,
            most_pairs=self.settings.most_pairs,
        )
        values = measure_values(graph, state, question, Noise(self.seed, snapshot.id), expert=expert)
        q = values.Q or ()
        update = {
            "uncertainty": measure_uncertainty(probabilities, teacher=chosen, temperature=self.settings.temperature),
            "values": values,
            "grade": grade_hint(values.V, values.Q_teacher),
            "first_order": first_order(probabilities, q, chosen),
        }
        if self.settings.depth and episode is not None:
            left = max(self.settings.max_prompts - (len(graph) - before), 0)
            update["depth"] = self._depth(graph, episode, snapshot, values.Q_teacher, expert, left)
        if self.settings.patches:
            moment = Moment(snapshot, hint, avoided(snapshot, hint, probabilities))
            texts = render_all(moment, others.of(snapshot), self.settings.templates)
            self.ledger.prompts += len(texts)
            everywhere = self._everywhere(state, texts) if thorough else None
            update["patches"] = measure_patches(
                self.policy, view, q, texts, gain_all=everywhere, name=f"snapshot {snapshot.id}"
            )
        return one.model_copy(update=update)

    def _expert(self, states: Sequence[S]) -> list[Bound | None]:
        try:
            return list(play_out(self.dynamics, self.teacher, states, ledger=self.ledger))
        except NotImplementedError:  # this teacher gives hints only
            return [None] * len(states)

    def _depth(
        self,
        graph: ValueGraph[S],
        episode: Episode,
        snapshot: Snapshot,
        forced: Bound,
        expert: Bound | None,
        prompts: int,
    ) -> DepthLabels:
        """Look back along the episode; values of forced actions are what the graph knows after so many more prompts."""
        states = [self.dynamics.decode(step.state_bytes) for step in episode.steps[: snapshot.step]]
        if not states:
            return DepthLabels(expert=measure_depth([expert]) if expert else None, force=measure_depth([forced]))
        experts = self._expert(states)
        views = [guarded_view(self.dynamics, state) for state in states]
        hints = ask_teacher(self.teacher, views, states, ledger=self.ledger)
        roots = [(state, h.action) for state, h in zip(states, hints, strict=True) if isinstance(h, TeacherHint)]
        graph.refine(roots, max_prompts=prompts)
        known = {(state, action): graph.action_bounds(state)[action] for state, action in roots}
        forces = [
            known[state, hint.action] if isinstance(hint, TeacherHint) else None
            for state, hint in zip(states, hints, strict=True)
        ]
        return DepthLabels(
            expert=measure_depth([*experts, expert]) if expert else None,
            force=measure_depth([*forces, forced]),
        )

    def _everywhere(self, state: S, texts: dict[tuple[PatchKind, int], str]) -> dict[PatchKind, Bound]:
        """Return gains over the placebo when a text stands beside every page until the end."""
        base = self._graph(texts["placebo", 0]).value(state)
        return {kind: self._graph(texts[kind, 0]).value(state).minus(base) for kind in PATCH_FORMATS}


class _Mismatches:
    """Finds a hinted moment of another group, on a page of the same kind if there is one."""

    def __init__(self, pool: Sequence[LabelledSnapshot]) -> None:
        self._pool = sorted((one for one in pool if isinstance(one.hint, TeacherHint)), key=lambda o: o.snapshot.id)

    def of(self, snapshot: Snapshot) -> Moment | None:
        later = [one for one in self._pool if one.snapshot.id > snapshot.id]
        order = [*later, *(one for one in self._pool if one.snapshot.id < snapshot.id)]
        others = [one for one in order if one.snapshot.group != snapshot.group]
        same = [one for one in others if one.snapshot.kind == snapshot.kind]
        for one in same or others:
            if isinstance(one.hint, TeacherHint):
                return Moment(one.snapshot, one.hint, one.snapshot.taken)
        return None
