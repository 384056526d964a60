"""Every fault that was found in steered prediction, and what a gate of the shop missed, beside the test that holds it.

The first column is what was found, as one who meets it would say it; the others are a file and a test in it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
JEPA = "packages/jepa/tests"

FAULTS = [
    # 1: a stranger cannot ask a question
    (
        "search wants the true answers",
        f"{JEPA}/asking/test_answerer.py",
        "test_an_answer_holds_ranked_texts_with_a_decision_and_its_reasons",
    ),
    (
        "a saved model holds no sources, categories or policy",
        f"{JEPA}/asking/test_contents.py",
        "test_what_is_read_answers_as_what_was_written",
    ),
    (
        "the guide never encodes a new text",
        f"{JEPA}/test_documents.py",
        "test_a_stranger_trains_on_documents_asks_and_has_the_answer_explained",
    ),
    # 2: sources of validation and test serve as wrong answers
    (
        "in training",
        f"{JEPA}/data/test_batches.py",
        "test_every_source_or_mined_ones_serve_as_wrong_answers_only_if_asked_for",
    ),
    (
        "among mined negatives",
        f"{JEPA}/data/test_negatives.py",
        "test_what_answers_no_training_question_is_never_drawn_unless_asked_for",
    ),
    (
        "predictors do not choose what they contrast with",
        f"{JEPA}/training/test_trainer.py",
        "test_what_is_left_open_becomes_one_candidate_for_each_way_of_settling_it",
    ),
    # 3: a simpler method wins
    (
        "its score is no model of the package",
        f"{JEPA}/models/test_scorer.py",
        "test_scores_are_the_formula_number_by_number",
    ),
    (
        "maps and filter are not trained together",
        f"{JEPA}/training/test_run.py",
        "test_the_scorer_learns_its_maps_and_its_filter",
    ),
    (
        "there is no one dial",
        f"{JEPA}/models/test_scorer.py",
        "test_a_growing_strength_moves_results_into_the_category_until_nothing_else_comes_before_it",
    ),
    (
        "validation cannot switch a residual off",
        f"{JEPA}/training/test_trainer.py",
        "test_the_run_with_the_better_validation_is_kept",
    ),
    # 4: steering that knows the answer
    (
        "one string of keywords for each category",
        f"{JEPA}/data/test_keywords.py",
        "test_many_strings_stand_for_one_category",
    ),
    (
        "keywords without noise",
        f"{JEPA}/data/test_keywords.py",
        "test_terms_are_of_the_question_of_its_area_or_of_another_and_some_are_mistyped",
    ),
    (
        "an oracle that is not called one",
        "tests/experiments/test_steering.py",
        "test_a_category_that_is_the_answers_own_is_called_an_oracle",
    ),
    (
        "no set that a stranger can rebuild",
        f"{JEPA}/data/test_docstrings.py",
        "test_summaries_are_paired_with_the_rest_of_public_docstrings",
    ),
    # 5: two of the seed's tasks cannot be run
    (
        "no command trains on data of one's own",
        f"{JEPA}/commands/test_train.py",
        "test_own_pairs_become_an_answerer_with_explanations_and_routing_figures",
    ),
    (
        "nor takes a training up again",
        f"{JEPA}/commands/test_train.py",
        "test_a_stopped_run_ends_as_one_that_was_not",
    ),
    (
        "an example of a configuration with one key",
        f"{JEPA}/test_documents.py",
        "test_the_example_files_are_complete_and_read_back",
    ),
    (
        "no setting of a device",
        f"{JEPA}/training/test_run.py",
        "test_a_device_that_is_not_there_is_refused",
    ),
    (
        "nor of a number format",
        f"{JEPA}/training/test_run.py",
        "test_half_precision_learns_too",
    ),
    (
        "no row says what a loss is worth",
        "tests/experiments/test_steering.py",
        "test_a_model_of_an_ablation_differs_in_what_its_name_says_alone",
    ),
    # 6: mined negatives vanish silently
    (
        "a number without negatives, or the other way round",
        f"{JEPA}/training/test_trainer.py",
        "test_mined_negatives_that_are_asked_for_must_be_given_and_the_other_way_round",
    ),
    (
        "a resume without them goes on as another run",
        f"{JEPA}/training/test_checkpoint.py",
        "test_a_run_resumes_with_its_mined_negatives_and_no_others",
    ),
    (
        "negatives that are right are taken",
        f"{JEPA}/training/test_run.py",
        "test_what_does_not_fit_is_refused",
    ),
    (
        "of one row, where others share them",
        f"{JEPA}/training/test_run.py",
        "test_mined_negatives_are_of_one_row_or_shared_by_the_batch",
    ),
    # 7: vectors and calls as people have them
    (
        "double precision, and rows that are no unit rows",
        f"{JEPA}/models/test_model.py",
        "test_vectors_of_other_types_and_lengths_mean_the_same",
    ),
    (
        "the same when asking",
        f"{JEPA}/asking/test_answerer.py",
        "test_a_question_may_be_a_vector_of_any_type_and_length",
    ),
    (
        "one question without an axis",
        f"{JEPA}/models/test_model.py",
        "test_one_question_is_asked_without_an_axis_for_it",
    ),
    (
        "a new category gives torch's error",
        f"{JEPA}/models/test_model.py",
        "test_what_makes_no_sense_is_refused_in_words",
    ),
    (
        "a new category is not learnt from its description",
        f"{JEPA}/models/test_model.py",
        "test_a_scorer_takes_categories_that_training_has_not_seen",
    ),
    (
        "an unknown category when asking",
        f"{JEPA}/asking/test_answerer.py",
        "test_what_cannot_be_asked_is_refused_in_words",
    ),
    (
        "half a precision makes NaN of zeros",
        f"{JEPA}/data/test_dataset.py",
        "test_rows_of_zeros_stay_zeros_and_others_get_length_one_in_every_precision",
    ),
    (
        "a finished run cannot be extended",
        f"{JEPA}/training/test_trainer.py",
        "test_a_finished_training_is_extended",
    ),
    (
        "a warm-up longer than the training",
        f"{JEPA}/test_config.py",
        "test_a_mistake_is_named_with_its_file",
    ),
    # 8: the card and the report
    (
        "88 % beside 31 % without a word",
        f"{JEPA}/explaining/test_page.py",
        "test_a_card_says_why_a_weight_and_a_probability_differ",
    ),
    (
        "asks for an area that was given",
        f"{JEPA}/explaining/test_page.py",
        "test_no_sentence_asks_for_an_area_that_was_given",
    ),
    (
        "308 rows and no main figure",
        "tests/experiments/test_steering.py",
        "test_the_first_screen_names_the_best_method_of_every_kind_of_steering",
    ),
    (
        "a smoke report does not say that it is one",
        "tests/test_jepa.py",
        "test_the_experiment_compares_all_methods_and_a_second_start_ends_in_the_same_results",
    ),
]
MISSED_IN_THE_SHOP = [
    (
        "steering of the width of a state",
        f"{JEPA}/models/test_model.py",
        "test_a_scorer_takes_steering_of_another_width",
    ),
    (
        "a state as wide as an embedding",
        f"{JEPA}/models/test_scorer.py",
        "test_states_that_happen_to_be_as_wide_as_embeddings_are_no_embeddings",
    ),
    (
        "candidates of each page, with a mask",
        f"{JEPA}/models/test_model.py",
        "test_candidates_of_each_question_are_scored_as_those_of_an_index",
    ),
    (
        "training on them",
        f"{JEPA}/training/test_candidates.py",
        "test_it_learns_what_the_state_says_about_kinds_that_it_was_told_nothing_of",
    ),
    (
        "subspaces of chunks that nobody has seen",
        "tests/experiments/test_shopping_steered_gate.py",
        "test_the_kind_of_a_chunk_is_told_from_its_buttons",
    ),
    (
        "a scorer of chunks, as agents want it",
        "tests/experiments/test_shopping_steered_gate.py",
        "test_a_page_looks_in_acting_as_it_looked_in_training",
    ),
    (
        "a check of the encoder",
        "tests/experiments/test_shopping_steered_gate.py",
        "test_a_gate_is_not_used_with_another_encoder",
    ),
]


@pytest.mark.parametrize(("found", "file", "name"), [*FAULTS, *MISSED_IN_THE_SHOP])
def test_what_was_found_is_held_by_a_test(found: str, file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, found
