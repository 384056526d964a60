from __future__ import annotations

import contextlib
import io
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sightline.agents

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.parametrize("name", sightline.agents.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sightline.agents, name) is not None
    assert name in dir(sightline.agents)


def test_no_name_that_is_imported_on_first_use_is_a_modules_too() -> None:
    # Importing such a module anywhere would put the module in the name's place.
    modules = {module.name for module in pkgutil.iter_modules(sightline.agents.__path__)}
    assert not modules & set(sightline.agents._MODULE_OF)
    assert all(callable(getattr(sightline.agents, name)) for name in modules & set(sightline.agents.__all__))


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, sightline.agents\n"
        "print([name for name in ('torch', 'transformers', 'tokenizers', 'matplotlib', 'openai', 'jinja2')"
        " if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = sightline.agents.nonsense


def test_the_first_example_of_the_readme_runs() -> None:
    example = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(example, str(README), "exec"), {})
    assert output.getvalue() == "click[blue] ['[button] blue [button_]\\na blue lamp']\n"
