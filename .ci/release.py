"""Check and build the release of one package, named by its tag: wheel, notes, and the README run outside the workspace.

    python .ci/release.py retrieval-v0.2.0             # writes dist/, prints the notes
    python .ci/release.py retrieval-v0.2.0 --dry-run   # the same where the changelog still says "unreleased"

Ends with status 1 and a sentence if the tag, the version and the changelog do not agree.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT_TESTS = ("test_readme.py", "test_documents.py")
"""Which tests run a package's README; jepa's runs its guides as well."""
TAG = re.compile(r"(?P<package>[a-z-]+)-v(?P<version>\d+\.\d+\.\d+)")


def version_of(folder: Path) -> str:
    """Return the version that a package declares."""
    return _declared(folder)["project"]["version"]


def _declared(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def read_notes(folder: Path, version: str, *, dry_run: bool) -> str:
    """Return what the changelog says of a version.

    Raises:
        SystemExit: the package has another version, or the changelog does not speak of this one.
    """
    if version_of(folder) != version:
        raise SystemExit(f"{folder.name}/pyproject.toml says version {version_of(folder)}, the tag says {version}")
    text = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(
        rf"^## {re.escape(version)}(?P<date>[^\n]*)\n(?P<notes>.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE
    )
    if section is None:
        raise SystemExit(f"{folder.name}/CHANGELOG.md has no section '## {version}'")
    if "unreleased" in section["date"] and not dry_run:
        raise SystemExit(f"{folder.name}/CHANGELOG.md still calls {version} unreleased: write the date of the release")
    return section["notes"].strip()


def run_outside(folder: Path, wheels: Path) -> None:
    """Install the wheel, its extras and its test tools into an empty environment, and run the README there.

    Raises:
        subprocess.CalledProcessError: the README does not run.
    """
    with tempfile.TemporaryDirectory() as temporary:
        outside = Path(temporary)
        python = outside / ".venv" / "bin" / "python"
        subprocess.run(["uv", "venv", "--quiet", str(outside / ".venv")], check=True)
        (wheel,) = wheels.glob(f"sightline_{folder.name.replace('-', '_')}-*.whl")
        install = ["uv", "pip", "install", "--quiet", "--python", str(python), "--find-links", str(wheels)]
        tools = [tool for tool in _declared(folder)["dependency-groups"]["dev"] if not tool.startswith("sightline-")]
        subprocess.run([*install, f"{wheel}[all]", *tools], check=True)
        copy = outside / folder.name
        shutil.copytree(
            folder, copy, ignore=shutil.ignore_patterns("src", "benchmarks", "pyproject.toml", "__pycache__")
        )
        test = next(path for path in map((copy / "tests").joinpath, DOCUMENT_TESTS) if path.is_file())
        subprocess.run(
            [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)], cwd=outside, check=True
        )


def main() -> None:
    """Release what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", help="PACKAGE-vMAJOR.MINOR.PATCH")
    parser.add_argument("--dry-run", action="store_true", help="accept a version that is not released yet")
    arguments = parser.parse_args()
    tag = TAG.fullmatch(arguments.tag)
    folder = ROOT / "packages" / (tag["package"] if tag else "")
    if tag is None or not (folder / "pyproject.toml").is_file():
        raise SystemExit(f"{arguments.tag!r} names no package and version, as retrieval-v0.2.0 does")
    notes = read_notes(folder, tag["version"], dry_run=arguments.dry_run)
    wheels = ROOT / "dist"
    shutil.rmtree(wheels, ignore_errors=True)
    subprocess.run(
        ["uv", "build", "--quiet", "--all-packages", "--no-sources", "--out-dir", str(wheels)], cwd=ROOT, check=True
    )
    run_outside(folder, wheels)
    sys.stdout.write(f"{notes}\n")


if __name__ == "__main__":
    main()
