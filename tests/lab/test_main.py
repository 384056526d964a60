"""The whole way of an experiment that is a dozen lines long."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

import lab
from lab.main import conclude, start
from lab.report import SMOKE_NOTICE, Report, Section
from lab.settings import RunSettings
from sightline.agents import Table


class Stage(StrEnum):
    TASTE = "1-taste"


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The experiment that the kit's own documentation shows, with a function that tastes."""
    tasting = ModuleType("experiments.drinking.tasting")
    tasting.__dict__["taste"] = lambda settings, folder: (folder / "joy.json").write_text(
        json.dumps({"tea": settings.cups, "coffee": settings.cups / 2})
    )
    monkeypatch.setitem(sys.modules, "experiments.drinking", ModuleType("experiments.drinking"))
    monkeypatch.setitem(sys.modules, "experiments.drinking.tasting", tasting)
    assert lab.__doc__ is not None
    code = lab.__doc__[lab.__doc__.index("    class TeaSettings") : lab.__doc__.index("- `settings`")]
    names = {
        each.__name__: each for each in (Mapping, Any, RunSettings, Stage, Report, Section, Table, start, conclude)
    }
    module = ModuleType("tea")
    module.__dict__.update(names, ClassVar=ClassVar, json=json)
    monkeypatch.setitem(sys.modules, "tea", module)
    exec(textwrap.dedent(code), module.__dict__)
    return module.__dict__["main"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def give(*flags: str) -> None:
        monkeypatch.setattr(sys, "argv", ["tea.py", "--output", str(tmp_path), *flags])

    return give


def test_a_run_leaves_settings_results_tables_a_page_and_its_answer(
    main: Callable[[], None], command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("--cups", "3")
    main()
    folder = tmp_path / "tea" / "default"
    assert json.loads((folder / "results.json").read_text()) == {"joy": {"tea": 3, "coffee": 1.5}}
    assert (folder / "results.md").read_text() == "| drink | joy |\n| --- | --- |\n| tea | 3.0 |\n| coffee | 1.5 |\n"
    page = (folder / "report.html").read_text()
    assert "Tea gives 3.0 joys." in page
    assert "uv run apps/tea.py · 0.0 minutes" in page
    shown = capsys.readouterr().out
    assert "Tea gives 3.0 joys." in shown
    assert str(folder / "report.html") in shown.replace("\n", "")
    assert "smoke" not in page + shown + (folder / "results.md").read_text()


def test_a_smoke_run_says_that_it_is_one_wherever_it_shows_results(
    main: Callable[[], None], command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("--smoke")
    main()
    folder = tmp_path / "tea" / "smoke"
    pages = [(folder / name).read_text() for name in ("report.html", "results.md")]
    assert all(SMOKE_NOTICE in page for page in [*pages, capsys.readouterr().out])
    assert json.loads((folder / "manifest.json").read_text())["smoke"] is True


def test_a_run_with_other_settings_ends_with_a_sentence_and_no_traceback(
    main: Callable[[], None], command: Any
) -> None:
    command()
    main()
    command("--cups", "3")
    with pytest.raises(SystemExit, match=r"made with other settings \(cups: 100 then, 3 now\)"):
        main()
