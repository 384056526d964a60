"""What this package needs of others: an environment's dynamics, a policy, a teacher, a learner.

Whoever has such things need not import this package: the protocols are structural. This module knows none of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.teachability.errors import DynamicsError, PolicyError
from sightline.teachability.views import StateView

if TYPE_CHECKING:
    from sightline.teachability.records import Refusal, TeacherHint
    from sightline.teachability.training_records import Example, LearnerConfig, TrainingReport

S = TypeVar("S", bound=Hashable)
E_contra = TypeVar("E_contra", contravariant=True)

SUCCESS_REWARD = 1.0
"""The reward of an ending that counts as a success. This is the one definition: values, episodes and panels use it."""

_SUM_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Transition(Generic[S]):
    """What an action brings."""

    state: S
    """The next state."""
    reward: float = 0.0
    """What the episode is worth if it ends here, from 0 to 1; rewards along the way do not count."""
    ended: bool = False
    """Whether the episode is over (terminated); running out of steps is told by `Dynamics.steps_left`."""

    @property
    def success(self) -> bool:
        """Whether the episode ended as it should."""
        return self.ended and self.reward >= SUCCESS_REWARD


class Dynamics(Protocol[S]):
    """The rules of an environment as pure functions of a hashable state: equal arguments, equal results."""

    def actions(self, state: S) -> tuple[str, ...]:
        """Return what can be done; empty only where nothing can."""
        ...

    def step(self, state: S, action: str) -> Transition[S]:
        """Return what an action brings."""
        ...

    def view(self, state: S) -> StateView:
        """Return what a policy may see."""
        ...

    def timeless(self, state: S) -> S:
        """Return the state with its clock at zero: equal ones show the policy the same and lead to the same states."""
        ...

    def steps_left(self, state: S) -> int:
        """Return how many actions can still be taken."""
        ...

    def encode(self, state: S) -> bytes:
        """Return the state as bytes, equal for equal states."""
        ...

    def decode(self, snapshot: bytes) -> S:
        """Return the state that `encode` made bytes of."""
        ...


class RestorableEnvironment(Protocol):
    """A Gymnasium environment that can be put back; `RestoredDynamics` makes `Dynamics` of it."""

    @property
    def info(self) -> Mapping[str, Any]:
        """What `reset` and `step` return as info; valid after `restore` too."""
        ...

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Open an episode."""
        ...

    def step(self, action: str, /) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take an action: observation, reward, terminated, truncated, info."""
        ...

    def snapshot(self) -> bytes:
        """Write the episode down."""
        ...

    def restore(self, snapshot: bytes, /) -> str:
        """Go back to where a snapshot was taken and return the observation."""
        ...


class ActionPolicy(Protocol):
    """The student: what it scores is how it acts, by sampling from the distribution."""

    @property
    def name(self) -> str:
        """A name for tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """What its answers depend on (weights, renderer, temperature); part of every cache key."""
        ...

    def distributions(
        self, views: Sequence[StateView], patches: Sequence[str | None] | None = None
    ) -> list[NDArray[np.float64]]:
        """Return one distribution per view, over the view's actions.

        Args:
            views: B views.
            patches: a text per view that the policy reads beside the page, None for none.
        """
        ...


class Teacher(Protocol[E_contra]):
    """Advises in a state, and can take over."""

    @property
    def name(self) -> str:
        """A name for tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """What its answers depend on."""
        ...

    def advise(
        self, views: Sequence[StateView], states: Sequence[E_contra], *, nonce: int = 0
    ) -> list[TeacherHint | Refusal]:
        """Return a hint or a refusal per state.

        Args:
            views: B views.
            states: the states behind them, for teachers that see more than the page.
            nonce: 0 at first, 1 when asked again after an unusable answer; an answer may depend on it.
        """
        ...

    def act(self, states: Sequence[E_contra]) -> list[str]:
        """Return the action that the teacher, in control, takes in each state."""
        ...


class Fitted(Protocol):
    """What training left."""

    @property
    def policy(self) -> ActionPolicy:
        """The trained student."""
        ...

    @property
    def report(self) -> TrainingReport:
        """What the training did."""
        ...

    def save(self, folder: Path) -> None:
        """Write the trained part into a folder, whole or not at all."""
        ...


class Learner(Protocol):
    """Trains the student anew from its base at every call."""

    def fit(self, examples: Sequence[Example], *, seed: int, config: LearnerConfig | None = None) -> Fitted:
        """Return the student after these examples; equal examples, seeds and settings give equal weights.

        Args:
            examples: what to learn.
            seed: seed of all draws.
            config: settings in place of the learner's own.
        """
        ...


def ask_policy(
    policy: ActionPolicy,
    views: Sequence[StateView],
    patches: Sequence[str | None] | None = None,
    *,
    names: Sequence[str] | None = None,
) -> list[NDArray[np.float64]]:
    """Ask a policy and refuse what is no distribution.

    Args:
        policy: the student.
        views: B views, each with at least one action.
        patches: a text per view, or None for none at all.
        names: what to call the views in an error, such as snapshot ids; default the beginning of the observation.

    Raises:
        PolicyError: another number of answers, or an answer of another length, with a NaN, a negative number or a sum
            other than 1.
    """
    if not views:
        return []
    answers = policy.distributions(views, patches)
    if len(answers) != len(views):
        raise PolicyError(f"policy {policy.name!r} gave {len(answers)} answers to {len(views)} views")
    checked = []
    for index, (view, answer) in enumerate(zip(views, answers, strict=True)):
        where = names[index] if names else repr(view.observation[:60])
        probabilities = np.asarray(answer, dtype=np.float64)
        if probabilities.shape != (len(view.actions),):
            raise PolicyError(
                f"policy {policy.name!r} gave an answer of shape {probabilities.shape} to {where}, which has "
                f"{len(view.actions)} actions"
            )
        total = float(probabilities.sum())
        if not (probabilities >= 0).all() or abs(total - 1) > _SUM_TOLERANCE:
            raise PolicyError(
                f"policy {policy.name!r} gave no distribution to {where}: "
                f"smallest {float(probabilities.min())!r}, sum {total!r}"
            )
        checked.append(probabilities / total)
    return checked


def guarded_step(dynamics: Dynamics[S], state: S, action: str) -> Transition[S]:
    """Take a step and give whatever an environment raises one name.

    Raises:
        DynamicsError: the dynamics raised, or the reward of an ending is outside [0, 1].
    """
    try:
        transition = dynamics.step(state, action)
    except DynamicsError:
        raise
    except Exception as error:
        raise DynamicsError(f"{type(error).__name__} at action {action!r}: {error}") from error
    if transition.ended and not 0 <= transition.reward <= 1:
        raise DynamicsError(f"action {action!r} ended with reward {transition.reward!r}; rewards lie in [0, 1]")
    return transition


def guarded_view(dynamics: Dynamics[S], state: S) -> StateView:
    """Look at a state and give whatever an environment raises one name.

    Raises:
        DynamicsError: the dynamics raised.
    """
    try:
        return dynamics.view(state)
    except DynamicsError:
        raise
    except Exception as error:
        raise DynamicsError(f"{type(error).__name__} while looking at a state: {error}") from error
