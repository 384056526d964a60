from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.retrieval import HashingEncoder

PACKAGE = Path(__file__).parents[1]
PRINTED = {
    "README.md": [
        "[button] B01 [button_]\nDesk lamp, grey\n$12.0\n",
        "",
        "('lamps.md',) 1\n1 1\n",
        "('main', 'spare') main []\n",
        "mug 1 1\n",
    ],
    "docs/with-extras.md": ["0.25 -> 1.0\n", "('qdrant', 'local') qdrant []\n", "desk lamp\n"],
}
NEWCOMER = PACKAGE.parents[1] / ".ci" / "newcomer.py"


def blocks_of(page: str) -> list[str]:
    content = (PACKAGE / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", content, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PRINTED)
def test_every_block_of_a_page_is_tested(page: str):
    assert len(blocks_of(page)) == len(PRINTED[page])


@pytest.mark.parametrize(
    ("page", "number"), [(page, number) for page in PRINTED for number in range(len(PRINTED[page]))]
)
def test_a_block_runs_by_itself_and_prints_what_it_should(
    page: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    # Loading the default model takes long, and other tests have done it.
    monkeypatch.setattr("sightline.retrieval.store.store.default_encoder", HashingEncoder)
    names: dict[str, object] = {}
    exec(compile(blocks_of(page)[number], page, "exec"), names)
    assert capsys.readouterr().out == PRINTED[page][number]
    assert "hits" not in names or names["hits"]


@pytest.mark.slow
@pytest.mark.skipif(not NEWCOMER.is_file(), reason="outside the repository there is no script that builds the wheel")
def test_the_readme_runs_in_an_empty_project_on_the_base_install():
    done = subprocess.run([sys.executable, NEWCOMER, "retrieval"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"all {len(PRINTED['README.md'])} blocks" in done.stdout


def test_sections_of_the_page_of_extras_that_the_readme_names_are_there():
    headings = re.findall(r"^## (.+)$", (PACKAGE / "docs/with-extras.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^a-z -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    named = re.findall(r"docs/with-extras\.md#([a-z-]+)", (PACKAGE / "README.md").read_text(encoding="utf-8"))
    assert set(named) == anchors
