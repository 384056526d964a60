from __future__ import annotations

import subprocess
import sys


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
