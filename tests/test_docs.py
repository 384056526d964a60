"""What the site says works: every block of Python runs, every page is in the menu, every room in the reference."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SCRIPT = re.compile(r"uv run ((?:apps|examples)/\S+\.py)((?: --[a-z-]+(?: \S+)?)*)")
WITH_BLOCKS = [page for page in (*PAGES, ROOT / "CONTRIBUTING.md") if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "docs"}
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_scripts_that_a_page_names_exist(page: Path) -> None:
    for script, _ in SCRIPT.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / script).is_file(), f"{page.name} names {script}"


def test_every_page_is_in_the_menu() -> None:
    menu = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(re.findall(r"[\w/-]+\.md", repr(menu))) == [page.relative_to(DOCS).as_posix() for page in PAGES]


def test_every_example_is_on_the_page_of_examples() -> None:
    named = re.findall(r"`(examples/\S+?)`", (DOCS / "examples.md").read_text(encoding="utf-8"))
    there = [*ROOT.glob("examples/*.py"), *ROOT.glob("examples/notebooks/*.ipynb")]
    assert sorted(named) == sorted(path.relative_to(ROOT).as_posix() for path in there)


def test_every_room_of_every_package_is_in_the_reference() -> None:
    rooms = {
        ".".join(stub.parent.parts[stub.parts.index("src") + 1 :]) for stub in ROOT.glob("packages/*/src/**/*.pyi")
    }
    shown = re.findall(
        r"^::: (\S+)$", "\n".join(p.read_text("utf-8") for p in DOCS.glob("reference/*.md")), re.MULTILINE
    )
    assert sorted(shown) == sorted(rooms)


def test_what_the_original_names_became_is_there() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", (DOCS / "names.md").read_text(encoding="utf-8"), re.MULTILINE)
    ours = [name for _, right in rows for name in re.findall(r"`(.+?)`", right)]
    assert len(ours) > 60
    for name in ours:
        if "/" in name:
            assert (ROOT / name).is_file(), name
        else:
            door, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(door), attribute), name


def test_the_page_on_installing_names_every_extra_of_every_package() -> None:
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    for file in ROOT.glob("packages/*/pyproject.toml"):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        (row,) = re.findall(rf"^\| `{project['name']}` \|.*\| (.*) \|$", page, re.MULTILINE)
        assert set(re.findall(r"`(.+?)`", row)) == set(project["optional-dependencies"]) - {"all"}, project["name"]


def test_the_download_of_pytorch_is_as_large_as_said() -> None:
    """The wheels for Linux on x86-64 that the lock holds for it and its CUDA libraries."""
    size = 0
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        if package["name"] in ("torch", "triton") or package["name"].startswith(("nvidia-", "cuda-")):
            wheels = [
                wheel for wheel in package["wheels"] if re.search(r"cp311-cp311-manylinux|py3-none", wheel["url"])
            ]
            size += sum(wheel["size"] for wheel in wheels if re.search(r"x86_64\.whl|any\.whl", wheel["url"]))
    assert f"is {size / 1e9:.1f} GB to download" in (DOCS / "install.md").read_text(encoding="utf-8")
