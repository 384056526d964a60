from __future__ import annotations

import subprocess
import sys

import pytest

import sightline.webshop_env as front_door


def test_every_public_name_can_be_had() -> None:
    for name in front_door.__all__:
        assert getattr(front_door, name) is not None


def test_names_are_listed_once_in_alphabetical_order() -> None:
    assert front_door.__all__ == sorted(set(front_door.__all__))


def test_every_public_name_is_listed_by_dir() -> None:
    assert set(front_door.__all__) <= set(dir(front_door))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'WebShop'"):
        _ = front_door.WebShop


def test_a_star_import_brings_exactly_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from sightline.webshop_env import *", names)
    assert set(front_door.__all__) == set(names) - {"__builtins__"}


def loaded_by(code: str) -> set[str]:
    report = f"import sys; {code}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"gymnasium", "numpy", "pydantic", "rapidfuzz", "regex", "spacy", "torch"}
    assert not heavy & loaded_by("import sightline.webshop_env")


def test_the_pure_shop_needs_neither_gymnasium_nor_torch() -> None:
    code = "from sightline.webshop_env import Catalogue, Shop, build_goals, render_text"
    assert not {"gymnasium", "torch", "spacy"} & loaded_by(code)
