"""Policies by name: register a class once, make it from a configuration anywhere.

The module knows what a policy must offer, and nothing about how it works.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Literal, TypeVar

import torch

from sightline.tamiyo_policy.compat.bundle import CompileMode, LSTMPolicyBundle, PolicyBundle
from sightline.tamiyo_policy.compat.config import PolicyConfig

_POLICIES: dict[str, Callable[[PolicyConfig], PolicyBundle]] = {}

_MEMBERS = sorted(name for name in vars(PolicyBundle) if not name.startswith("_"))

_Class = TypeVar("_Class", bound=type)


def register_policy(name: str) -> Callable[[_Class], _Class]:
    """Make a class known under a name; use it as a decorator.

    Args:
        name: what `get_policy` and `create_policy` find it by.

    Returns:
        The decorator, which gives the class back unchanged. The class is called with a `PolicyConfig`.

    Raises:
        ValueError: the name is taken.
        TypeError: the class lacks a member of `PolicyBundle`.
    """

    def register(policy: _Class) -> _Class:
        if name in _POLICIES:
            raise ValueError(f"policy {name!r} is registered already, as {_POLICIES[name]!r}")
        missing = [member for member in _MEMBERS if not hasattr(policy, member)]
        if missing:
            raise TypeError(f"{policy.__name__} is no PolicyBundle, it lacks {', '.join(missing)}")
        _POLICIES[name] = policy
        return policy

    return register


def list_policies() -> list[str]:
    """Return registered names in alphabetical order."""
    return sorted(_POLICIES)


def get_policy(name: str, config: PolicyConfig) -> PolicyBundle:
    """Return a fresh policy of a registered kind, on the CPU.

    Raises:
        ValueError: no policy has this name.
    """
    if name not in _POLICIES:
        close = get_close_matches(name, _POLICIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"there is no policy {name!r:.80}.{hint} Registered: {list_policies()!r}")
    return _POLICIES[name](config)


def create_policy(
    policy_type: str = "lstm",
    config: PolicyConfig | None = None,
    *,
    device: torch.device | str = "cpu",
    compile_mode: CompileMode | Literal["off"] = "off",
) -> PolicyBundle:
    """Return a policy ready for training: built, moved, then compiled.

    Args:
        policy_type: a registered name.
        config: what it is made of; None is the default `PolicyConfig`.
        device: device of the policy.
        compile_mode: `"off"`, or how much `torch.compile` may spend.

    Raises:
        ValueError: no policy has this name.
    """
    policy = get_policy(policy_type, PolicyConfig() if config is None else config).to(device)
    if compile_mode != "off":
        policy.compile(compile_mode)
    return policy


register_policy("lstm")(LSTMPolicyBundle)
