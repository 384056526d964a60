from __future__ import annotations

import subprocess
import sys

import pytest

from sightline.webshop_env.commands import catalogue as importing
from sightline.webshop_env.commands import main as cli
from sightline.webshop_env.commands.main import main


@pytest.mark.parametrize("command", ["import", "generate", "verify", "serve", "play"])
def test_every_command_explains_its_arguments(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: sightline-webshop {command}" in shown
    assert "default" in shown or command == "verify"


def test_help_lists_the_commands_and_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom sightline.webshop_env.commands.main import main\n"
        "try:\n    main(['--help'])\nfinally:\n    print(*sorted(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"    {command} " in run.stdout for command in ("import", "generate", "verify", "serve", "play"))
    loaded = set(run.stdout.splitlines()[-1].split())
    assert "sightline.webshop_env.commands.main" in loaded
    assert not loaded & {
        "sightline.webshop_env.commands.catalogue",
        "sightline.webshop_env.commands.play",
        "pydantic",
        "numpy",
        "rich",
    }


@pytest.mark.parametrize(
    "words", [[], ["imports"], ["--out", "x", "import"], ["import"], ["generate", "--products", "0"]]
)
def test_wrong_arguments_end_with_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: sightline-webshop" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status", "words"), [(KeyboardInterrupt(), 130, ""), (OSError("full"), 2, "full")])
def test_what_ends_a_command_becomes_a_message_and_a_status(
    error: BaseException, status: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(importing, "run_verify", fail)
    assert main(["verify", "somewhere"]) == status
    assert capsys.readouterr().err == (f"sightline-webshop verify: {words}\n" if words else "")


def test_the_arguments_of_the_process_are_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sightline-webshop", "verify", "no/such/folder"])
    assert cli.main() == 2
    assert "no/such/folder" in capsys.readouterr().err
