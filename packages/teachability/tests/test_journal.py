from __future__ import annotations

import pytest

from sightline.teachability.journal import Journal
from sightline.teachability.jsonl import RecordError
from sightline.teachability.records import Refusal


def filled(path, count=3):
    journal = Journal(path, Refusal, fingerprint="work")
    for number in range(count):
        journal.append(str(number), Refusal(reason=f"reason {number} é"))
    return path.read_bytes()


def test_records_are_there_after_reopening(tmp_path):
    filled(tmp_path / "j")
    assert Journal(tmp_path / "j", Refusal, fingerprint="work").records["1"].reason == "reason 1 é"


def test_cut_anywhere_what_was_whole_is_kept_and_work_goes_on(tmp_path):
    whole = filled(tmp_path / "j")
    for length in range(len(whole)):
        (tmp_path / "j").write_bytes(whole[:length])
        journal = Journal(tmp_path / "j", Refusal, fingerprint="work")
        kept = len(journal.records)
        assert kept == max(whole[:length].count(b"\n") - 1, 0)
        for number in range(kept, 3):
            journal.append(str(number), Refusal(reason=f"reason {number} é"))
        assert (tmp_path / "j").read_bytes() == whole


def test_a_damaged_line_in_the_middle_is_named_and_refused(tmp_path):
    whole = filled(tmp_path / "j")
    (tmp_path / "j").write_bytes(whole.replace(b"reason 0", b"reason 9"))
    with pytest.raises(RecordError, match="line 2 is damaged"):
        Journal(tmp_path / "j", Refusal, fingerprint="work")


def test_a_journal_of_other_work_is_refused(tmp_path):
    filled(tmp_path / "j")
    with pytest.raises(RecordError, match="belongs to other work"):
        Journal(tmp_path / "j", Refusal, fingerprint="other")


def test_a_key_is_written_once(tmp_path):
    journal = Journal(tmp_path / "j", Refusal, fingerprint="work")
    journal.append("a", Refusal(reason="x"))
    with pytest.raises(ValueError, match="'a' is in"):
        journal.append("a", Refusal(reason="y"))
