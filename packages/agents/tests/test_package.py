from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_first_example_of_the_readme_runs() -> None:
    example = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(example, str(README), "exec"), {})
    assert output.getvalue() == "click[blue] ['[button] blue [button_]\\na blue lamp']\n"


def test_configurations_and_records_load_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from sightline.agents.chat import TokenPrices\n"
        "from sightline.agents.state import NextActionMetrics, NextActionTrainingConfig, StateModelConfig\n"
        "from sightline.agents.student import PACKAGED_STUDENT, StudentReport, StudentTrainingConfig\n"
        "print({'torch', 'transformers', 'tokenizers', 'matplotlib', 'openai', 'ray'} & {*sys.modules})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
