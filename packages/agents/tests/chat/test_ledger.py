from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.agents.chat.ledger import LedgerRow, TokenLedger
from sightline.agents.chat.prices import TokenPrices
from sightline.retrieval.jsonl import RecordError

PRICES = TokenPrices(prompt=2.0, completion=8.0, cached=0.5)

APPEND_FOREVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from sightline.agents.chat.ledger import LedgerRow, TokenLedger

ledger = TokenLedger(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    row = LedgerRow(time=datetime.now(UTC), request=f"{sys.argv[2]}-{number}", model="m", prompt_tokens=number,
                    completion_tokens=1, cached_tokens=0, latency=0.1, attempts=1)
    ledger.append(row)
    print(number, flush=True)
"""


def row(
    request: str = "r", *, prompt: int = 100, completion: int = 10, cached: int = 40, cost: float | None = 1.5
) -> LedgerRow:
    return LedgerRow(
        time=datetime(2026, 1, 2, tzinfo=UTC),
        request=request,
        model="tiny",
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cost=cost,
        latency=0.25,
        attempts=2,
    )


def failed_row() -> LedgerRow:
    return LedgerRow(time=datetime(2026, 1, 2, tzinfo=UTC), request="f", model="tiny", latency=1, attempts=3, error="E")


def appending_process(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", APPEND_FOREVER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_the_summary_adds_up_answered_requests_and_counts_the_others(tmp_path: Path) -> None:
    ledger = TokenLedger(tmp_path / "new" / "ledger.jsonl", PRICES)
    for one in (row(), failed_row(), row(prompt=7, completion=3, cached=0, cost=0.5)):
        ledger.append(one)
    found = TokenLedger(ledger.path).summary()
    assert (found.requests, found.unanswered, found.attempts) == (3, 1, 7)
    assert (found.prompt_tokens, found.completion_tokens, found.cached_tokens) == (107, 13, 40)
    assert found.cost == pytest.approx(2.0)
    assert found.latency == pytest.approx(1.5)


def test_the_total_cost_is_unknown_when_that_of_one_answer_is(tmp_path: Path) -> None:
    ledger = TokenLedger(tmp_path / "ledger.jsonl")
    ledger.append(row())
    ledger.append(row(cost=None))
    assert ledger.summary().cost is None


def test_a_ledger_without_a_file_is_empty(tmp_path: Path) -> None:
    assert TokenLedger(tmp_path / "none.jsonl").summary().requests == 0


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_row_cut_off_at_any_byte_harms_no_row_before_or_after_it(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        ledger = TokenLedger(Path(folder) / "ledger.jsonl")
        ledger.append(row("first"))
        whole = ledger.path.read_bytes()
        torn = row('a "quoted} {name').model_dump_json().encode()
        ledger.path.write_bytes(whole + torn[: data.draw(st.integers(0, len(torn) - 1))])
        ledger.append(row("last"))
        assert [one.request for one in ledger.rows()] == ["first", "last"]


def test_a_line_of_another_kind_is_an_error_that_names_it(tmp_path: Path) -> None:
    ledger = TokenLedger(tmp_path / "ledger.jsonl")
    ledger.append(row())
    with ledger.path.open("a") as file:
        file.write('{"goal": 3}\n')
    with pytest.raises(RecordError, match=r"ledger\.jsonl, line 2"):
        ledger.summary()


def test_a_killed_process_loses_no_acknowledged_row(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with appending_process(path, "a", 10**9) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout.read().split(b"\n") if line.strip()]
    found = [one.request for one in TokenLedger(path).rows()]
    assert found[: len(acknowledged)] == [f"a-{number}" for number in acknowledged]


def test_rows_of_processes_that_write_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with appending_process(path, "a", 40) as one, appending_process(path, "b", 40) as other:
        one.communicate()
        other.communicate()
    found = [row.request for row in TokenLedger(path).rows()]
    assert sorted(found) == sorted(f"{name}-{number}" for name in "ab" for number in range(40))
