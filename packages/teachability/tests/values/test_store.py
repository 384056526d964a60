from __future__ import annotations

import pytest

from sightline.teachability.records import Bound
from sightline.teachability.values import ValueStore, value_key

BOUND = Bound(low=0.1, high=0.3, estimate=0.2, method="graph", prompts=7)


def test_everything_an_answer_depends_on_makes_another_key():
    keys = {
        value_key("p", b"s"),
        value_key("q", b"s"),
        value_key("p", b"t"),
        value_key("p", b"s", action="a"),
        value_key("p", b"s", patch="a"),
        value_key("p", b"s", how="a"),
    }
    assert len(keys) == 6


def test_bounds_are_there_after_reopening(tmp_path):
    with ValueStore(tmp_path / "deep" / "v.sqlite") as store:
        store.put("k", BOUND, policy="p")
    with ValueStore(tmp_path / "deep" / "v.sqlite") as store:
        assert store.get("k") == BOUND
        assert store.get("other") is None


def test_a_damage_that_sqlite_quotes_is_told(tmp_path):
    path = tmp_path / "v.sqlite"
    with ValueStore(path) as store:
        store.put("k", BOUND, policy="p")
    whole = path.read_bytes()
    place = whole.index(b"TABLE") + 1
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"v\.sqlite is no value store .*delete it to start anew"):
        ValueStore(path)


def test_another_file_or_version_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a database at all, but long enough to be looked at" * 40)
    with pytest.raises(ValueError, match="no value store"):
        ValueStore(tmp_path / "text")
    store = ValueStore(tmp_path / "v.sqlite")
    store._connection.execute("PRAGMA user_version=9")
    store.close()
    with pytest.raises(ValueError, match="version 9"):
        ValueStore(tmp_path / "v.sqlite")
