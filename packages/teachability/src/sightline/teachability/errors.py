"""What can go wrong outside this package, each with a name, so that nothing of it is taken for a student's failure."""

from __future__ import annotations


class DynamicsError(RuntimeError):
    """The environment or its dynamics raised; the episode or snapshot becomes an error row, never a failure."""


class PolicyError(ValueError):
    """A policy answered something that is no distribution over the actions it was asked about."""


class LeakError(ValueError):
    """A task group stands in two splits, or training examples reach into a panel."""


class AuditError(ValueError):
    """A set of training examples would teach something other than what it is for; the message lists every reason."""


class ArmError(ValueError):
    """Arms of the selection experiment chose nearly the same snapshots, or one could not choose at all."""
