"""Open a package's front door: each name stands once, in the stub beside the door, and is imported when first used.

A name whose module needs an extra that is not installed can still be imported, listed and looked at; using it raises
the `ImportError` that says how to install the extra.
"""

from __future__ import annotations

from collections.abc import Callable

from lazy_loader import attach_stub


class MissingExtra:
    """Stand for a public name whose module could not be imported because an extra is not installed."""

    def __init__(self, door: str, name: str, error: ImportError) -> None:
        self._name, self._error = f"{door}.{name}", error
        self._distribution = "-".join(door.split(".")[:2]).replace("_", "-")

    def _refuse(self) -> ImportError:
        reason = str(self._error)
        if "pip install" not in reason:
            reason = f"{reason}; install what it needs with: pip install '{self._distribution}[all]'"
        return ImportError(f"{self._name} cannot be used: {reason}")

    def __call__(self, *arguments: object, **keywords: object) -> object:
        """Raise the error that names the extra."""
        raise self._refuse() from self._error

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)  # what `help` and `inspect` look for must not raise anything else
        raise self._refuse() from self._error

    def __mro_entries__(self, bases: tuple[type, ...]) -> tuple[type, ...]:
        raise self._refuse() from self._error

    def __repr__(self) -> str:
        return f"<{self._name}: an extra is not installed>"


def attach(package: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of the package whose names the stub beside `file` lists.

    Args:
        package: full name of the package, its `__name__`.
        file: path of its `__init__.py`, its `__file__`.

    Returns:
        The three functions and lists that make a module's names lazy (PEP 562).
    """
    load, list_names, names = attach_stub(package, file)

    def get(name: str) -> object:
        try:
            return load(name)
        except ImportError as error:
            if not _is_foreign(error):
                raise
            return MissingExtra(package, name, error)

    return get, list_names, names


def _is_foreign(error: BaseException | None) -> bool:
    """Return whether a module outside of this project is what could not be found."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] != "sightline":
            return True
        error = error.__cause__
    return False
