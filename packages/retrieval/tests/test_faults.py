"""Every fault that was reported of version 0.1 is held by tests, which failed before it was mended."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

from sightline.retrieval import Document, HashingEncoder, LocalEmbeddingStore

TESTS = Path(__file__).parent

HELD_BY = {
    "opening a store deletes other files": [
        "store/disk/test_folder.py::test_a_store_beside_other_files_never_touches_them",
        "store/disk/test_folder.py::test_a_folder_that_holds_other_things_and_no_store_is_refused_and_left_as_it_was",
    ],
    "a store whose database is missing is emptied": [
        "store/disk/test_folder.py::test_one_part_of_a_store_alone_is_never_taken_for_a_new_one",
        "store/disk/test_folder.py::test_a_database_that_goes_missing_under_an_open_store_does_not_begin_anew",
    ],
    "reading fails where nothing may be written": [
        "store/database/test_connections.py::"
        "test_a_closed_store_is_read_where_nothing_may_be_written_and_nothing_is_left_behind",
        "store/database/test_connections.py::test_a_store_whose_writer_was_killed_says_so_where_its_log_cannot_be_read",
    ],
    "a forked child releases its parent's lock": [
        "store/disk/test_lock.py::test_a_forked_child_reads_and_takes_neither_the_lock_nor_the_files_of_its_parent",
    ],
    "without extras the doors cannot be looked through": [
        "test_front_door.py::test_doors_can_be_looked_through_where_no_extra_is_installed",
    ],
    "vectors and documents cannot be read out or ruled": [
        "store/test_changes.py::test_vectors_are_in_hits_when_asked_for_and_outlive_the_store",
        "store/test_changes.py::test_many_are_got_in_the_order_asked_and_the_unknown_are_left_out",
        "store/test_changes.py::test_counting_and_deleting_by_filter_agree_with_searching",
        "store/test_changes.py::test_pages_hold_every_document_once_in_the_order_of_ids",
        "store/test_changes.py::test_metadata_changes_without_encoding",
        "store/test_changes.py::test_duplicates_are_those_near_a_document_that_stays",
        "store/test_exchange.py::test_what_is_exported_is_imported_with_its_vectors",
        "ranking/test_diversity.py::test_the_choice_is_that_of_the_formula_step_by_step",
    ],
    "vectors have no checksums, and a cut file ends the process": [
        "store/soundness/test_verification.py::test_a_vector_that_changed_is_named_with_its_document",
        "store/soundness/test_verification.py::test_a_vector_that_changed_is_never_a_hit",
        "store/soundness/test_verification.py::test_vectors_that_were_cut_under_an_open_store_are_an_error_and_no_crash",
        "store/soundness/test_verification.py::test_of_fifty_flipped_bytes_each_is_named_or_changes_nothing",
    ],
    "a full disk raises SQLite's error": [
        "store/database/test_connections.py::test_what_the_disk_refuses_is_an_os_error_and_loses_nothing",
        "store/test_store_disk.py::test_a_disk_that_is_full_loses_nothing_that_was_acknowledged",
    ],
    "a second writer cannot wait": [
        "store/disk/test_lock.py::test_three_processes_that_take_turns_get_all_their_writes_through",
        "store/disk/test_lock.py::test_a_second_writer_waits_for_the_first_to_close",
    ],
    "chunking loses what is short and knows no structure": [
        "text/test_chunking.py::test_short_pieces_are_joined_to_their_neighbours",
        "text/test_chunking.py::test_nothing_is_lost",
        "text/test_chunking.py::test_sentences_of_other_scripts_end_where_they_end",
        "text/test_splitting.py::test_passages_keep_blocks_whole_and_know_their_headings",
        "text/test_splitting.py::test_lengths_may_be_tokens_and_passages_may_overlap",
        "text/test_splitting.py::test_nothing_is_lost_and_no_passage_is_too_long",
    ],
    "words are not found in unspaced scripts, and hybrid search begins anew": [
        "text/test_words.py::test_a_word_inside_of_unspaced_text_is_found",
        "ranking/test_word_index.py::test_another_tokenizer_or_another_file_is_refused",
        "ranking/test_word_index.py::test_a_file_is_found_again_and_other_processes_writes_are_seen",
        "ranking/test_hybrid.py::test_an_index_that_followed_is_that_of_one_made_anew",
        "ranking/test_hybrid.py::test_words_over_backends_go_through_the_search_and_survive_the_first_backend",
        "ranking/test_hybrid.py::test_awaited_and_batched_searches_are_the_single_ones",
    ],
    "encoders cut texts in silence": [
        "text/test_sentence_transformer.py::test_texts_that_are_cut_give_one_warning_with_their_number",
        "text/test_sentence_transformer.py::test_tokens_are_counted_as_the_model_counts_them",
    ],
    "a compaction drops the approximate index": [
        "store/test_storage.py::test_an_index_takes_the_place_of_the_one_before_and_outlives_compactions",
        "store/test_store_approximate.py::test_an_index_proposes_the_same_documents_after_their_rows_were_renumbered",
    ],
    "what is installed chooses the encoder, and odd values are refused": [
        "text/test_default.py::test_a_store_keeps_the_encoder_it_was_made_with_whatever_is_installed_later",
        "store/test_parameters.py::test_numbers_of_any_library_are_taken",
        "store/test_metadata.py::test_a_store_gives_dates_back_and_its_json_stays_readable",
        "store/test_metadata.py::test_instants_compare_whatever_their_zone_and_the_three_kinds_do_not",
        "test_faults.py::test_lone_surrogates_are_no_text_but_may_stand_in_metadata",
        "test_readme.py::test_a_block_runs_by_itself_and_prints_what_it_should",
        "test_faults.py::test_the_readme_says_how_to_get_pytorch_for_cpus_and_what_it_takes",
    ],
    "what is written after the folder vanished is acknowledged": [
        "store/test_storage.py::test_what_is_written_after_the_folder_vanished_is_not_acknowledged",
        "store/test_storage.py::test_a_folder_that_vanishes_during_a_write_does_not_acknowledge_it",
    ],
}


@pytest.mark.parametrize("fault", HELD_BY)
def test_a_fault_is_held_by_tests_that_are_there(fault: str):
    for place in HELD_BY[fault]:
        file, _, name = place.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place


def test_lone_surrogates_are_no_text_but_may_stand_in_metadata():
    with pytest.raises(ValidationError, match="content"):
        Document(id="a", content="cut \ud800 short")
    content = "cut \ud800 short".encode("utf-8", "replace").decode()  # what the documentation advises
    store = LocalEmbeddingStore(HashingEncoder())
    store.add([Document(id="a", content=content, metadata={"seen": "\ud800"})])
    assert store.get("a") == Document(id="a", content="cut ? short", metadata={"seen": "\ud800"})


def test_the_readme_says_how_to_get_pytorch_for_cpus_and_what_it_takes():
    readme = (TESTS.parent / "README.md").read_text(encoding="utf-8")
    assert "https://download.pytorch.org/whl/cpu" in readme
    assert "benchmarks/sizes.py" in readme
