from __future__ import annotations

import subprocess
import sys


def test_searching_and_planning_load_no_pytorch() -> None:
    """Every door of the room is opened, and a search is run, in a process of its own."""
    code = (
        "import sys\n"
        "from sightline.agents import planning\n"
        "from sightline.agents.selfplay import TicTacToe\n"
        "for name in planning.__all__:\n"
        "    getattr(planning, name)\n"
        "planning.Search(simulations=20).run(TicTacToe().model('rollouts'), [TicTacToe().initial()])\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'scipy', 'pandas', 'numba', 'jax'}\n"
        "print(len(planning.__all__) > 20, sorted(heavy & {*sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
