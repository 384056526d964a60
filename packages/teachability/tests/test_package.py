from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import sightline.teachability

SOURCE = Path(sightline.teachability.__file__).parent
DOORS = ["", "mining", "values", "labels", "supervision", "training", "predictor", "evaluation", "selection", "figures"]


@pytest.mark.parametrize("door", DOORS)
def test_every_name_of_a_door_is_there(door):
    package = importlib.import_module(f"sightline.teachability.{door}".rstrip("."))
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert not modules & set(package.__all__)  # a module of that name would take the name's place
    assert len(package.__all__) <= 25


def test_the_core_loads_nothing_heavy():
    script = (
        "import sys\n"
        "for heavy in ('torch', 'transformers', 'peft', 'trl', 'matplotlib', 'scipy', 'sklearn', 'safetensors'):\n"
        "    sys.modules[heavy] = None\n"
        "from sightline.teachability import *\n"
        "from sightline.teachability.mining import *\n"
        "from sightline.teachability.values import *\n"
        "from sightline.teachability.labels import *\n"
        "from sightline.teachability.supervision import *\n"
        "from sightline.teachability.evaluation import *\n"
        "from sightline.teachability.predictor import *\n"
        "from sightline.teachability.training.matrix import plan_matrix\n"
        "from sightline.teachability.figures import analyse_h1\n"
        "print('fine')\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout == "fine\n", result.stderr


@pytest.mark.parametrize(
    ("name", "extra"), [("training.LoRALearner", "training"), ("figures.draw_h1", "plots"), ("training.SFTLearner", "")]
)
def test_a_missing_extra_raises_when_the_name_is_used_with_the_install_command(name, extra):
    door, _, attribute = name.partition(".")
    script = (
        "import sys\n"
        "for heavy in ('torch', 'matplotlib', 'matplotlib.figure'): sys.modules[heavy] = None\n"
        f"from sightline.teachability.{door} import {attribute}\n"
        f"{attribute}([], None)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert f"pip install 'sightline-teachability[{extra}" in result.stderr
