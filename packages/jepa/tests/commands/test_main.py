from __future__ import annotations

import subprocess
import sys

import pytest

from sightline.jepa.commands.main import main


def test_help_names_the_commands_and_loads_no_torch():
    code = (
        "import sys\nfrom sightline.jepa.commands.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as done:\n    print(done.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert {"train", "config", "ask"} <= set(done.stdout.split())


def test_a_wrong_word_is_an_error(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["tain"])
    assert "invalid choice: 'tain'" in capsys.readouterr().err
