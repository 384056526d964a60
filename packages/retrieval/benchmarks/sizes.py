"""Megabytes that the base install and each extra take, measured in fresh environments.

Run from the repository's root: ``uv run packages/retrieval/benchmarks/sizes.py``. It builds the wheel and installs it
from the package registry; extras with PyTorch download several gigabytes, so name others to leave these out.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def installed_megabytes(wheel: Path, extra: str, torch_backend: str | None) -> float:
    """Return what is in site-packages after an install, in MB of 10**6 bytes; without bytecode."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        subprocess.run(["uv", "venv", "--quiet", str(environment)], check=True)
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        command = ["uv", "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), wanted]
        subprocess.run([*command, *(["--torch-backend", torch_backend] if torch_backend else [])], check=True)
        (packages,) = environment.glob("lib/python*/site-packages")
        return sum(path.lstat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    extras = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--extras", nargs="*", default=["", *extras], help="'' stands for the base install")
    parser.add_argument("--torch-backend", help="as uv takes it, for example cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", wheels, str(PACKAGE)], check=True)
        (wheel,) = Path(wheels).glob("*.whl")
        for extra in options.extras:
            print(f"{extra or 'base':22} {installed_megabytes(wheel, extra, options.torch_backend):7,.0f}", flush=True)


if __name__ == "__main__":
    main()
