"""Do as a newcomer does: build a package's wheel, install it and nothing else into an empty project, run its README.

    python .ci/newcomer.py              # sightline-retrieval, whose README says that its blocks need no extra
    python .ci/newcomer.py PACKAGE

Every block of Python runs by itself, in the empty project, with an interpreter that sees neither this checkout nor any
other package. Ends with status 1 and the output of the first block that fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run_readme(package: Path, project: Path) -> int:
    """Install the wheel of a package into a project, run the blocks of its README there, and return how many there are.

    Raises:
        SystemExit: a block fails.
        subprocess.CalledProcessError: the wheel cannot be built or installed.
    """
    python, wheels = project / ".venv" / "bin" / "python", project / "wheels"
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", str(wheels), str(package)], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(python.parents[1])], check=True)
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), str(wheel)], check=True, cwd=project)
    blocks = BLOCK.findall((package / "README.md").read_text(encoding="utf-8"))
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    for number, block in enumerate(blocks, 1):
        folder = project / f"block-{number}"
        folder.mkdir()
        (folder / "block.py").write_text(block, encoding="utf-8")
        done = subprocess.run(
            [python, "block.py"], cwd=folder, env=outside, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{package.name}/README.md, block {number} of {len(blocks)}:\n{block}\n{done.stderr}")
        sys.stdout.write(f"block {number}: {done.stdout.strip()}\n")
    return len(blocks)


def main() -> None:
    """Run the README of the package that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", nargs="?", default="retrieval", help="folder in packages/")
    package = ROOT / "packages" / parser.parse_args().package
    with tempfile.TemporaryDirectory() as project:
        count = run_readme(package, Path(project))
    if not count:
        raise SystemExit(f"{package.name}/README.md has no blocks")
    sys.stdout.write(f"all {count} blocks of {package.name}/README.md ran on the base install\n")


if __name__ == "__main__":
    main()
