from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAILING = """
import os, signal, sys
from pathlib import Path
from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.goals.goals import build_goals
from sightline.webshop_env.verification import verify_catalogue
from sightline.webshop_env.catalogue.catalogue import write_catalogue

how, what, step, parent = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
shop, old, new = parent / "shop", Catalogue.generate(3, 1), Catalogue.generate(4, 2)
events = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "fsync"}
os.fsync = lambda handle: None  # only its failures matter here

def fail_at(number):
    left = [number]
    def hook(event, args):
        if event in events and not (event == "open" and str(parent) not in str(args[0])):
            left[0] -= 1
            if left[0] < 0 and how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if left[0] == -1:
                raise OSError(28, "no space left")
    os.fsync = lambda handle: hook("fsync", ())
    sys.addaudithook(hook)
    return left

def attempt(number):
    child = os.fork()
    if not child:
        left = fail_at(number)
        try:
            if what == "goals":
                build_goals(Catalogue.open(shop), "human", 1)
            else:
                write_catalogue(new, shop, replace=what == "replaced")
        except OSError:
            pass
        finally:
            os._exit(left[0] < 0)
    return os.waitpid(child, 0)[1]

seen, number, ended = set(), 0, 1
while ended:
    if what != "written":
        write_catalogue(old, shop, replace=True)
    ended = attempt(number)
    try:
        opened = Catalogue.open(shop)
        assert list(opened) in (list(old), list(new))
        verify_catalogue(shop)
        state = "old" if opened == old else "new"
        if what == "goals":
            assert build_goals(opened, "human", 1) == build_goals(old, "human", 1)
            names = {path.name for path in (shop / "goals").iterdir()}
            assert names <= {"human-1-v1"}, names
    except CatalogueError as error:
        state = "restorable" if ".shop.old" in str(error) else "nothing"
    seen.add(state)
    if how == "refused":
        assert [path.name for path in parent.iterdir() if path.name != "shop"] in ([], [".shop.tmp"], [".shop.old"])
    write_catalogue(new, shop, replace=True)
    assert list(Catalogue.open(shop)) == list(new)
    assert [path.name for path in parent.iterdir()] == ["shop"]
    __import__("shutil").rmtree(shop)
    number += step
print(number, *sorted(seen))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize("step", [19, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["killed", "refused"])
@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("written", {"nothing", "new"}),
        ("replaced", {"old", "new", "restorable"}),
        ("goals", {"old"}),
    ],
)
def test_a_run_that_dies_at_any_call_of_the_system_leaves_all_or_nothing(
    tmp_path: Path, what: str, left: set[str], how: str, step: int
) -> None:
    command = [sys.executable, "-c", FAILING, how, what, str(step), tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    points, *seen = ran.stdout.split()
    assert int(points) > 40
    # A refused rename is undone, so only a killed replacement can leave the former catalogue under its other name.
    expected = left if how == "killed" else left - {"restorable"}
    assert set(seen) == expected if step == 1 else set(seen) <= expected
