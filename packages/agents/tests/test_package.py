from __future__ import annotations

import subprocess
import sys


def test_configurations_and_records_load_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from sightline.agents.chat import TokenPrices\n"
        "from sightline.agents.state import NextActionMetrics, NextActionTrainingConfig, StateModelConfig\n"
        "from sightline.agents.student import PACKAGED_STUDENT, StudentReport, StudentTrainingConfig\n"
        "print({'torch', 'transformers', 'tokenizers', 'matplotlib', 'openai', 'ray'} & {*sys.modules})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
