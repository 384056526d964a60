from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

(FOLDER,) = (path for path in (Path(__file__).parents[1] / "src" / "sightline").iterdir() if path.is_dir())
PACKAGE = f"sightline.{FOLDER.name}"
DOORS = sorted(".".join((PACKAGE, *stub.parent.relative_to(FOLDER).parts)) for stub in FOLDER.rglob("__init__.pyi"))
HEAVY = ("torch", "transformers", "sentence_transformers", "matplotlib", "sklearn", "ray", "openai", "jinja2", "numba")
EXTRAS = (*HEAVY, "fastapi", "uvicorn", "openenv", "spacy", "bm25s", "usearch", "qdrant_client", "pinecone", "docutils")


WITHOUT_EXTRAS = f"""
import importlib, inspect, pydoc, sys, types

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("door", DOORS)
def test_every_name_of_a_door_can_be_had_and_stands_there_once(door: str) -> None:
    module = importlib.import_module(door)
    assert module.__all__ == sorted(set(module.__all__))
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name) is not None for name in module.__all__)


@pytest.mark.parametrize("door", DOORS)
def test_an_unknown_name_is_an_attribute_error(door: str) -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = importlib.import_module(door).nonsense


def test_no_name_has_two_doors() -> None:
    names = [name for door in DOORS for name in importlib.import_module(door).__all__]
    assert sorted(set(names)) == sorted(names)


def test_the_first_door_has_at_most_25_names() -> None:
    assert len(importlib.import_module(PACKAGE).__all__) <= 25


def test_a_star_import_brings_exactly_the_public_names() -> None:
    names: dict[str, object] = {}
    exec(f"from {PACKAGE} import *", names)
    assert set(importlib.import_module(PACKAGE).__all__) == set(names) - {"__builtins__"}


def test_the_doors_open_without_loading_anything_heavy() -> None:
    done = run(f"import sys, {', '.join(DOORS)}; print({{*{HEAVY}}} & {{*sys.modules}})")
    assert done.stdout == "set()\n", done.stderr


def test_doors_can_be_looked_through_where_no_extra_is_installed() -> None:
    looking = "".join(
        f"from {door} import *\nimport {door} as door\ndir(door), inspect.getmembers(door), pydoc.render_doc(door)\n"
        "assert all(hasattr(door, name) for name in door.__all__)\n"
        for door in DOORS
    )
    done = run(WITHOUT_EXTRAS + looking)
    assert done.returncode == 0, done.stderr


def test_what_needs_an_extra_says_how_to_install_it_when_it_is_used() -> None:
    using = (
        f"for door in map(importlib.import_module, {DOORS}):\n"
        "    for name in door.__all__:\n"
        "        value = getattr(door, name)\n"
        "        if type(value).__name__ == 'MissingExtra':\n"
        "            for use in (value, lambda: value.attribute, lambda: types.new_class('Derived', (value,))):\n"
        "                try:\n"
        "                    use()\n"
        "                except ImportError as error:\n"
        "                    assert 'pip install' in str(error) and name in str(error), error\n"
        "                else:\n"
        "                    raise AssertionError(name)\n"
    )
    done = run(WITHOUT_EXTRAS + using)
    assert done.returncode == 0, done.stderr


def test_every_folder_of_the_package_is_a_room_of_at_most_fifteen_modules() -> None:
    rooms = [
        FOLDER,
        *(
            FOLDER / Path(*module.name.split(".")[2:])
            for module in pkgutil.walk_packages([str(FOLDER)], f"{PACKAGE}.")
            if module.ispkg
        ),
    ]
    for room in rooms:
        modules = [file.name for file in room.glob("*.py") if file.name not in {"__init__.py", "__main__.py"}]
        assert len(modules) <= 15, f"{room.name}: {sorted(modules)}"
