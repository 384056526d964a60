from __future__ import annotations

from pathlib import Path

import pytest

from sightline.retrieval import Document, HashingEncoder
from sightline.retrieval.errors import StoreLockedError
from sightline.retrieval.store import StoreCollections

NAMES = ["guides", "Guides", "../up", "a/b", "com1.", "é ü", ".", "%2E"]


def test_each_name_has_a_store_of_its_own_and_nothing_leaves_the_folder(tmp_path: Path):
    collections = StoreCollections(tmp_path / "all")
    assert collections.names() == []
    for name in NAMES:
        with collections.open(name, HashingEncoder(8)) as store:
            store.add([Document(id=name, content="x")])
    assert collections.names() == sorted(NAMES)
    assert len({path.name.casefold() for path in (tmp_path / "all").iterdir()}) == len(NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    for name in NAMES:
        with collections.open(name, read_only=True) as store:
            assert [document.id for document in store.documents()] == [name]


def test_deleting_leaves_the_others_and_refuses_what_is_open_or_unknown(tmp_path: Path):
    collections = StoreCollections(tmp_path)
    for name in ("a", "b"):
        collections.open(name, HashingEncoder(8)).close()
    with collections.open("a"), pytest.raises(StoreLockedError):
        collections.delete("a")
    (tmp_path / ".deleted-by-a-crash").mkdir()
    collections.delete("a")
    assert "a" not in collections
    assert "b" in collections
    assert [path.name for path in tmp_path.iterdir()] == ["collection-b"]
    with pytest.raises(FileNotFoundError, match=r"'a'.*it has b"):
        collections.delete("a")
    with pytest.raises(ValueError, match="1 to 64"):
        collections.open("")
