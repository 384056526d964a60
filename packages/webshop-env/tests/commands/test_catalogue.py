from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.catalogue.official.reading import OfficialFiles
from sightline.webshop_env.commands import progress
from sightline.webshop_env.commands.main import main
from sightline.webshop_env.commands.progress import Meter
from sightline.webshop_env.goals.goals import build_goals

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden" / "webshop"

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command and returns what it said: on stdout after success, else on stderr."""

    def run(*words: object, status: int = 0) -> str:
        assert main([str(word) for word in words]) == status
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return err if status else out

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 30 made-up products as official files and as a stored catalogue."""
    folder = tmp_path_factory.mktemp("made")
    words = ["generate", "--products", "30", "--official", folder / "official", "--out", folder / "stored"]
    assert main([str(word) for word in words]) == 0
    return folder


def import_words(official: Path, *more: object) -> tuple[object, ...]:
    files = OfficialFiles.of(official)
    paths = ("--products", files.products, "--attributes", files.attributes, "--human", files.human)
    return ("import", *paths, *more)


def test_generated_products_are_stored_and_written_alike(made: Path) -> None:
    files = OfficialFiles.of(made / "official")
    expected = Catalogue.generate(30, seed=0)
    assert Catalogue.open(made / "stored") == expected
    assert Catalogue.from_official(files.products, files.attributes, files.human) == expected


def test_the_seed_picks_the_generated_catalogue(run: Run, tmp_path: Path) -> None:
    run("generate", "--products", 5, "--seed", 3, "--out", tmp_path / "stored")
    assert Catalogue.open(tmp_path / "stored") == Catalogue.generate(5, seed=3)


def test_official_files_are_imported_and_summed_up(run: Run, made: Path, tmp_path: Path) -> None:
    said = run(*import_words(made / "official", "--out", tmp_path / "stored"))
    assert Catalogue.open(tmp_path / "stored") == Catalogue.open(made / "stored")
    assert "imported 30 products from " in said
    assert f"catalogue: {tmp_path / 'stored'}, " in said
    assert f"fingerprint: {Catalogue.generate(30, seed=0).fingerprint}\n" in said


def test_only_the_head_of_a_file_is_imported_if_asked_for(run: Run, made: Path, tmp_path: Path) -> None:
    run(*import_words(made / "official", "--num-products", 7, "--out", tmp_path / "stored"))
    assert Catalogue.open(tmp_path / "stored") == Catalogue.generate(7, seed=0)


def test_goals_are_built_ahead(run: Run, made: Path, tmp_path: Path) -> None:
    words = import_words(made / "official", "--out", tmp_path / "stored", "--goals", "human", "synthetic", "--seed", 5)
    said = run(*words)
    catalogue = Catalogue.open(tmp_path / "stored")
    for kind in ("human", "synthetic"):
        expected = build_goals(Catalogue.generate(30, seed=0), kind, 5)
        assert f"built {len(expected):,} {kind} goals" in said
        assert list(build_goals(catalogue, kind, 5).goals) == list(expected.goals)


def test_an_existing_catalogue_is_replaced_only_if_asked_for(run: Run, made: Path, tmp_path: Path) -> None:
    words = ("generate", "--products", 3, "--out", tmp_path / "stored")
    run(*words)
    refused = run(*import_words(made / "official", "--out", tmp_path / "stored"), status=2)
    assert "exists already; choose another folder, or replace it: replace=True, or --replace in a terminal" in refused
    assert "exists already" in run(*words, status=2)
    assert len(Catalogue.open(tmp_path / "stored")) == 3
    run(*import_words(made / "official", "--out", tmp_path / "stored", "--replace"))
    assert len(Catalogue.open(tmp_path / "stored")) == 30


def test_existing_official_files_are_replaced_only_if_asked_for(run: Run, tmp_path: Path) -> None:
    precious = tmp_path / "items_human_ins.json"
    precious.write_text("precious")
    words = ("generate", "--products", 3, "--official", tmp_path)
    assert f"{precious} exists already" in run(*words, status=2)
    assert [path.name for path in tmp_path.iterdir()] == [precious.name]
    assert precious.read_text() == "precious"
    run(*words, "--replace")
    assert precious.read_text() != "precious"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nowhere to write to: give --official DIR"),
        (("--official", "x", "--goals", "human"), "give --out DIR, too"),
    ],
)
def test_targets_that_make_no_sense_are_refused_at_once(run: Run, words: tuple[str, ...], message: str) -> None:
    assert message in run("generate", "--products", 3, *words, status=2)


def test_a_malformed_file_is_named_and_leaves_nothing(run: Run, made: Path, tmp_path: Path) -> None:
    text = OfficialFiles.of(made / "official").products.read_text(encoding="utf-8")
    broken = tmp_path / "items.json"
    broken.write_text(text[: len(text) // 2], encoding="utf-8")
    said = run("import", "--products", broken, "--out", tmp_path / "stored", status=2)
    assert said.splitlines()[-1].startswith(f"sightline-webshop import: {broken}: is not JSON (it ends too early")
    assert not (tmp_path / "stored").exists()


def test_goals_that_the_files_do_not_hold_are_an_error_after_the_import(run: Run, made: Path, tmp_path: Path) -> None:
    products = OfficialFiles.of(made / "official").products
    said = run("import", "--products", products, "--out", tmp_path / "stored", "--goals", "human", status=2)
    assert "none of the 30 products has a human instruction" in said
    assert len(Catalogue.open(tmp_path / "stored")) == 30


def test_a_whole_catalogue_is_verified_and_a_damaged_one_refused(run: Run, tmp_path: Path) -> None:
    run("generate", "--products", 30, "--out", tmp_path / "stored", "--goals", "human")
    said = run("verify", tmp_path / "stored")
    assert "checked 30 products" in said
    assert Catalogue.open(tmp_path / "stored").fingerprint in said
    largest = max((path for path in (tmp_path / "stored").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert largest.name in run("verify", tmp_path / "stored", status=2)


def test_no_catalogue_is_an_error(run: Run, tmp_path: Path) -> None:
    assert str(tmp_path / "absent") in run("verify", tmp_path / "absent", status=2)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the recordings are not at {GOLDEN}")
def test_the_recorded_catalogue_is_imported(run: Run, tmp_path: Path) -> None:
    said = run(*import_words(GOLDEN, "--out", tmp_path / "stored", "--goals", "human"))
    assert "imported 300 products" in said
    files = OfficialFiles.of(GOLDEN)
    expected = Catalogue.from_official(files.products, files.attributes, files.human)
    assert Catalogue.open(tmp_path / "stored") == expected
    assert Catalogue.open(tmp_path / "stored").fingerprint in run("verify", tmp_path / "stored")


def test_without_a_terminal_a_line_is_written_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LOG_EVERY", 10)
    with Meter("importing") as meter:
        products = meter.watch(Catalogue.generate(25, seed=0))
        meter.set_bytes(1_000_000, 4_000_000)
        assert len(list(products)) == 25
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert [line.split(",")[0] for line in lines] == [
        "importing: 10 products",
        "importing: 20 products",
        "importing: 25 products; finishing",
    ]
    assert "1.0 MB of 4.0 MB" in lines[0]
    assert lines[0].endswith(" left")


def test_on_a_terminal_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(os.environ, "TERM", "xterm")
    monkeypatch.setitem(os.environ, "COLUMNS", "120")
    with Meter("generating", products=25) as meter:
        list(meter.watch(Catalogue.generate(25, seed=0)))
    assert "100%" in terminal.getvalue()
    assert "25 products; finishing" in terminal.getvalue()
