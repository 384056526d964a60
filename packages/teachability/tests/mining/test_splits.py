from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.teachability.errors import LeakError
from sightline.teachability.jsonl import RecordError
from sightline.teachability.mining import check_disjoint, make_splits, near_duplicates, read_manifest, write_manifest


@given(st.dictionaries(st.integers(0, 10**6), st.text(max_size=8), max_size=40), st.text(max_size=5))
def test_no_group_stands_in_two_splits_and_no_task_is_lost(tasks, salt):
    manifest = make_splits(tasks, salt=salt)
    members: dict[str, set[str]] = {
        split: {tasks[task] for task in manifest.members(split)} for split in manifest.shares
    }
    check_disjoint(members)
    assert sorted(task for split in manifest.shares for task in manifest.members(split)) == sorted(tasks)


@given(st.dictionaries(st.integers(0, 500), st.text(max_size=4), min_size=1, max_size=30), st.integers(0, 500))
def test_a_groups_split_does_not_depend_on_what_else_is_in_the_pool(tasks, other):
    everything = make_splits(tasks, salt="s")
    task = min(tasks)
    assert make_splits({task: tasks[task]}, salt="s").split(task) == everything.split(task)


def test_splits_are_the_same_in_another_process():
    script = (
        "from sightline.teachability.mining import make_splits\n"
        "print(make_splits({i: f'group {i}' for i in range(30)}, salt='x').model_dump_json())"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] == make_splits({i: f"group {i}" for i in range(30)}, salt="x").model_dump_json() + "\n"


def test_the_shares_are_about_what_was_asked_for():
    manifest = make_splits({i: str(i) for i in range(5000)}, salt="s")
    for split, share in manifest.shares.items():
        assert len(manifest.members(split)) / 5000 == pytest.approx(share, abs=0.03)


def test_a_group_that_the_student_was_trained_on_is_refused():
    with pytest.raises(LeakError, match=r"'pool' and in 'used before': \['mug'\]"):
        make_splits({0: "mug", 1: "lamp"}, salt="s", used={"mug"})


def test_near_duplicates_across_splits_are_found():
    manifest = make_splits({i: f"group {i}" for i in range(40)}, salt="s")
    texts = {i: f"find item number {i} of shelf {i * 7} in hall {i * 31}" for i in range(40)}
    first, second = manifest.members("label")[0], manifest.members("panel")[0]
    texts[second] = texts[first] + "!"
    texts[manifest.members("label")[1]] = texts[first]  # in the same split: no leak
    found = near_duplicates(texts, manifest)
    assert (min(first, second), max(first, second)) in found
    assert all(manifest.split(a) != manifest.split(b) for a, b in found)


def test_a_manifest_reads_back_and_a_wrong_one_names_its_field(tmp_path):
    manifest = make_splits({0: "a", 1: "b"}, salt="s")
    write_manifest(tmp_path / "splits.json", manifest)
    assert read_manifest(tmp_path / "splits.json") == manifest
    (tmp_path / "splits.json").write_text('{"salt": "s", "shares": {"lable": 1}, "groups": {}, "tasks": {}}')
    with pytest.raises(RecordError, match="lable"):
        read_manifest(tmp_path / "splits.json")
