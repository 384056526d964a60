"""Tell the API reference which names a front door exports: those of the stub that lies beside it."""

from __future__ import annotations

from typing import Any

import griffe


class FrontDoors(griffe.Extension):
    """Set `exports` of every package with a stub, which `lazy_loader` reads only at run time."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Visit the package and the packages within it."""
        rooms = [member for member in pkg.members.values() if isinstance(member, griffe.Module)]
        for door in [pkg, *rooms]:
            if door.is_init_module:
                names = [name for name, member in door.members.items() if member.is_alias]
                door.exports = [name for name in names if name not in ("attach", "annotations")]
