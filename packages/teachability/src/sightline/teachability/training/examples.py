"""Turns labelled snapshots, replayed states and recoveries into examples. One encoder for all, the student's own.

Knows nothing of how examples are learnt.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Generic

import numpy as np

from sightline.teachability.labels.patches import avoided
from sightline.teachability.mining.mine import take_snapshot
from sightline.teachability.mining.records import Episode
from sightline.teachability.protocols import ActionPolicy, Dynamics, S, ask_policy
from sightline.teachability.records import LabelledSnapshot, PatchFormat, Snapshot, TeacherHint
from sightline.teachability.supervision.formats import PatchTemplates, render_patch
from sightline.teachability.training.encoding import EncodeFn
from sightline.teachability.training_records import Example


class ExampleBuilder(Generic[S]):
    """Makes examples for one student.

    Args:
        dynamics: the environment, to see the states again.
        encode: the student's encoder.
        policy: the student before training; replay holds to its distributions, hints are distilled from them.
        templates: wordings of the hints.
        literal: put the teaching text into the prompt and learn the answer after it, as the first system of this kind
            did; the prompt then is not the one that the student meets when it acts.
    """

    def __init__(
        self,
        dynamics: Dynamics[S],
        encode: EncodeFn,
        policy: ActionPolicy,
        *,
        templates: PatchTemplates | None = None,
        literal: bool = False,
    ) -> None:
        self._dynamics = dynamics
        self._encode = encode
        self._policy = policy
        self._templates = templates or PatchTemplates()
        self._literal = literal

    def corrections(self, labelled: Sequence[LabelledSnapshot], formats: Sequence[PatchFormat]) -> list[Example]:
        """Return one example per snapshot, in its format.

        Raises:
            ValueError: a snapshot has no hint or was not measured.
        """
        return [self._correction(one, format_) for one, format_ in zip(labelled, formats, strict=True)]

    def replays(self, snapshots: Sequence[Snapshot]) -> list[Example]:
        """Return examples of the student's own best actions, held to its own distributions."""
        views = [self._dynamics.view(self._dynamics.decode(one.state_bytes)) for one in snapshots]
        answers = ask_policy(self._policy, views, names=[f"snapshot {one.id}" for one in snapshots])
        examples = []
        for snapshot, view, probabilities in zip(snapshots, views, answers, strict=True):
            encoded = self._encode(view, None)
            best = int(np.argmax(probabilities))
            examples.append(
                Example(
                    prompt_ids=tuple(encoded.prompt),
                    candidates_ids=tuple(map(tuple, encoded.candidates)),
                    chosen=best,
                    target=tuple(probabilities.tolist()),
                    source="replay",
                    snapshot_id=snapshot.id,
                    group=snapshot.group,
                    format="demo",
                    kind=view.kind,
                    action=view.actions[best],
                )
            )
        return examples

    def recoveries(self, steps: Sequence[tuple[Snapshot, str]]) -> list[Example]:
        """Return examples of what a teacher in control did; actions that the page does not offer are left out."""
        examples = []
        for snapshot, action in steps:
            view = self._dynamics.view(self._dynamics.decode(snapshot.state_bytes))
            if action in view.actions:
                encoded = self._encode(view, None)
                examples.append(
                    Example(
                        prompt_ids=tuple(encoded.prompt),
                        candidates_ids=tuple(map(tuple, encoded.candidates)),
                        chosen=view.actions.index(action),
                        source="recovery",
                        snapshot_id=snapshot.id,
                        group=snapshot.group,
                        format="demo",
                        kind=view.kind,
                        action=action,
                    )
                )
        return examples

    def _correction(self, labelled: LabelledSnapshot, format_: PatchFormat) -> Example:
        snapshot, hint = labelled.snapshot, labelled.hint
        if not isinstance(hint, TeacherHint) or labelled.uncertainty is None:
            raise ValueError(f"snapshot {snapshot.id} has no hint or was not measured; nothing can be learnt from it")
        view = self._dynamics.view(self._dynamics.decode(snapshot.state_bytes))
        probabilities = np.array(labelled.uncertainty.probabilities)
        avoid = avoided(snapshot, hint, probabilities)
        text = render_patch(format_, snapshot, hint, self._templates, avoid=avoid)
        encoded = self._encode(view, text if self._literal else None)
        learnt = "demo" if self._literal else format_
        target = None
        if learnt == "hint":
            (patched,) = ask_policy(self._policy, [view], [text], names=[f"snapshot {snapshot.id}"])
            target = tuple(patched.tolist())
        return Example(
            prompt_ids=tuple(encoded.prompt),
            candidates_ids=tuple(map(tuple, encoded.candidates)),
            chosen=view.actions.index(hint.action),
            rejected=view.actions.index(avoid) if learnt == "contrast" and avoid != hint.action else None,
            target=target,
            source="correction",
            snapshot_id=snapshot.id,
            group=snapshot.group,
            format=learnt,
            kind=view.kind,
            action=hint.action,
        )


def replay_pool(episodes: Sequence[Episode], *, exclude: Collection[str] = ()) -> list[Snapshot]:
    """Return every state of the student's successes outside some groups, each once."""
    found: dict[str, Snapshot] = {}
    for episode in episodes:
        if episode.outcome == "success" and episode.group not in exclude:
            for position in range(len(episode.steps)):
                snapshot = take_snapshot(episode, position, mined_by="replay")
                found.setdefault(snapshot.id, snapshot)
    return list(found.values())


def draw_replay(pool: Sequence[Snapshot], count: int, *, seed: int, exclude: Collection[str] = ()) -> list[Snapshot]:
    """Return so many states of a pool, without those of some groups; fewer where the pool is smaller."""
    allowed = [one for one in pool if one.group not in exclude]
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
    picks = generator.permutation(len(allowed))[:count]
    return [allowed[i] for i in sorted(picks.tolist())]
