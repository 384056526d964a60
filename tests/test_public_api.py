"""A change of a public name or signature shows in review: what the front doors offer is kept in `api.txt`.

`uv run python tests/test_public_api.py` writes the files anew. A line that goes or changes breaks somebody's program.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in (ROOT / "packages").glob("*/pyproject.toml"))


def offered(package: Path) -> str:
    """Return one line for each public name, field and method of a package."""
    lines: list[str] = []
    for stub in sorted((package / "src").rglob("__init__.pyi")):
        door = ".".join(stub.parent.relative_to(package / "src").parts)
        module = importlib.import_module(door)
        for name in sorted(re.findall(r" as (\w+)$", stub.read_text(encoding="utf-8"), re.MULTILINE)):
            lines += [f"{door}.{line}" for line in describe(name, getattr(module, name))]
    return "\n".join(lines) + "\n"


def describe(name: str, value: object) -> Iterator[str]:
    """Yield a name with its signature; of a class, its fields and public methods as well."""
    if inspect.isclass(value):
        yield f"{name}{_signature(value)}"
        fields = getattr(value, "model_fields", {})  # they are in the signature
        for member in sorted(vars(value)):
            inner = inspect.getattr_static(value, member)
            if member.startswith("_") or member in fields:
                continue
            if isinstance(inner, property):
                yield f"{name}.{member}: property"
            elif callable(getattr(value, member)) and not inspect.isclass(inner):
                yield f"{name}.{member}{_signature(getattr(value, member))}"
    elif inspect.isroutine(value):
        yield f"{name}{_signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def _signature(value: object) -> str:
    try:
        text = str(inspect.signature(value))  # ty: ignore[invalid-argument-type]
    except (TypeError, ValueError):
        return "(...)"
    return re.sub(r" at 0x[0-9a-f]+", "", text)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_what_a_package_offers_is_what_its_file_says(package: Path) -> None:
    kept = (package / "api.txt").read_text(encoding="utf-8")
    assert offered(package).splitlines() == kept.splitlines(), "run `uv run python tests/test_public_api.py`"


if __name__ == "__main__":
    for package in PACKAGES:
        (package / "api.txt").write_text(offered(package), encoding="utf-8")
