"""A package that is installed from its wheel, with nothing of this repository beside it, runs its own README."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def release() -> ModuleType:
    """The script that releases a package; what it checks before a release is checked here."""
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all packages."""
    folder = tmp_path_factory.mktemp("wheels")
    command = ["uv", "build", "--quiet", "--wheel", "--all-packages", "--no-sources", "--out-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_in_an_empty_project_runs_the_readme(package: str, release: ModuleType, wheels: Path) -> None:
    release.run_outside(ROOT / "packages" / package, wheels)


@pytest.mark.parametrize("package", PACKAGES)
def test_version_and_changelog_agree(package: str, release: ModuleType) -> None:
    folder = ROOT / "packages" / package
    assert release.read_notes(folder, release.version_of(folder), dry_run=True)
