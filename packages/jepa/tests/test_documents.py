"""The documents are true: their code runs, and the configuration reference lists what there is.

``python packages/jepa/tests/test_documents.py`` writes the configuration reference and the example files anew.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sightline.jepa.commands.config import complete_yaml
from sightline.jepa.config import JEPAConfig

PACKAGE = Path(__file__).resolve().parents[1]
REFERENCE = PACKAGE / "docs" / "configuration.md"

_HEAD = """# Configuration

A training run is one YAML file, read by `JEPAConfig.from_yaml`. Every key has a default, so that an empty file is a
run; an unknown key or a value out of range is an error that names the key. `configs/scorer.yaml`, `configs/plain.yaml`
and `configs/routed.yaml` are the recommended runs.
"""


def configuration_reference() -> str:
    sections = [(name, field) for name, field in JEPAConfig.model_fields.items() if _is_section(field.annotation)]
    parts = [_HEAD, "## Top level\n", _table(JEPAConfig, skip={name for name, _ in sections})]
    for name, field in sections:
        assert isinstance(field.annotation, type)
        parts += [f"## `{name}`\n", f"{_sentence(field.annotation)}\n", _table(field.annotation)]
    return "\n".join(parts)


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _sentence(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _table(model: type[BaseModel], skip: frozenset[str] | set[str] = frozenset()) -> str:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        assert field.default is not PydanticUndefined, f"{model.__name__}.{name} has no default"
        assert field.description, f"{model.__name__}.{name} has no meaning"
        meaning = " ".join(field.description.split()).replace("``", "`")
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        rows.append(f"| `{name}` | `{default}` | {meaning} |")
    return "\n".join(rows) + "\n"


def code_blocks(*documents: str) -> list[str]:
    return [
        block
        for document in documents
        for block in re.findall(r"```python\n(.*?)```", (PACKAGE / document).read_text(encoding="utf-8"), re.DOTALL)
    ]


def test_the_configuration_reference_lists_every_key_with_its_default():
    assert REFERENCE.read_text(encoding="utf-8") == configuration_reference()


def test_the_readmes_example_trains_a_better_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    *_, block = code_blocks("README.md")
    exec(compile(block, "README.md", "exec"), {})
    untrained, trained = (eval(line) for line in capsys.readouterr().out.splitlines())  # noqa: S307 - our own output
    assert trained["category"] > untrained["category"]


@pytest.mark.slow
def test_a_stranger_trains_on_documents_asks_and_has_the_answer_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    make_documents, ask, _ = code_blocks("README.md")
    (commands,) = re.findall(r"```sh\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(ask.splitlines() + commands.splitlines()) <= 10
    exec(compile(make_documents, "README.md", "exec"), {})
    shown = ""
    for line in commands.splitlines()[1:]:
        command = shlex.split(line)
        program = Path(sys.executable).with_name(command[0])
        done = subprocess.run([str(program), *command[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shown += done.stdout
    assert shown.startswith("sightline-jepa ask --model answers")
    assert re.search(r"^(TRUST|CHECK|ABSTAIN) \(first source right: \d+%\)", shown, re.MULTILINE), shown
    assert "Where it was looked for" in (tmp_path / "answer.html").read_text()
    exec(compile(ask, "README.md", "exec"), {})
    assert "asyncio" in shown
    assert capsys.readouterr().out.split()[0] in ("trust", "check", "abstain")


def test_the_guide_and_the_page_on_explanations_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in code_blocks("docs/guide.md", "docs/explanations.md"):
        exec(compile(block, "guide.md", "exec"), namespace)
    shown = capsys.readouterr().out
    assert re.search(r"category MRR 0\.[5-9]|category MRR 1\.0", shown), shown
    assert re.search(r"trust [1-9][0-9]* first right: (0\.9|1\.0)", shown), shown
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "run" / "policy.json").exists()


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (PACKAGE / "docs").glob("*.md"))])
def test_links_between_documents_lead_somewhere(document: str):
    path = PACKAGE / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{document} links to {target}"


def example_files() -> dict[Path, str]:
    kinds = get_args(JEPAConfig.model_fields["model"].annotation)
    return {PACKAGE / "configs" / f"{kind}.yaml": complete_yaml(JEPAConfig(model=kind)) for kind in kinds}


def test_the_example_files_are_complete_and_read_back():
    files = example_files()
    assert sorted((PACKAGE / "configs").glob("*.yaml")) == sorted(files)
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text
        assert JEPAConfig.from_yaml(path) == JEPAConfig.model_validate({"model": path.stem})


if __name__ == "__main__":
    REFERENCE.write_text(configuration_reference(), encoding="utf-8")
    for example, content in example_files().items():
        example.write_text(content, encoding="utf-8")
