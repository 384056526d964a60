"""Every fault that was found in the shop, and everything that its users missed, beside the test that holds it.

The first column is what was found, as one who meets it would say it; the others are a file and a test in it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHOP = "packages/webshop-env/tests"

FAULTS = [
    # 1: trainers cannot see that an action was invalid
    (
        "info says nothing of validity",
        f"{SHOP}/gym/test_env.py",
        "test_info_says_whether_an_action_was_valid_and_what_was_wrong_with_it",
    ),
    (
        "nor does the vector environment",
        f"{SHOP}/gym/test_vector.py",
        "test_the_infos_say_which_actions_were_valid_and_what_was_wrong_with_others",
    ),
    (
        "nor does the classic class",
        f"{SHOP}/adapters/test_classic.py",
        "test_the_four_tuple_stays_and_properties_say_whether_an_action_was_valid",
    ),
    (
        "badly wrapped actions fail silently",
        f"{SHOP}/rules/test_action_text.py",
        "test_a_wrapped_action_is_unwrapped_and_what_was_done_is_said",
    ),
    (
        "a lenient environment says nothing of repairs",
        f"{SHOP}/gym/test_env.py",
        "test_a_lenient_environment_takes_a_wrapped_action_and_says_what_it_repaired",
    ),
    (
        "a repair changes a valid action",
        f"{SHOP}/rules/test_action_text.py",
        "test_repairing_never_raises_and_never_changes_a_valid_action",
    ),
    # 2: one bad record stops a whole import
    (
        "one bad record stops an import",
        f"{SHOP}/catalogue/official/test_faults.py",
        "test_300_faulty_records_of_30_kinds_are_named_in_one_pass_and_the_rest_is_imported",
    ),
    (
        "there is no bound on what is left out",
        f"{SHOP}/catalogue/official/test_faults.py",
        "test_too_many_faulty_records_fail_with_all_of_them_counted",
    ),
    (
        "the single message is lost",
        f"{SHOP}/catalogue/official/test_faults.py",
        "test_without_permission_the_first_fault_is_an_error_as_before",
    ),
    # 3: a server bound to an outside address
    (
        "half-sent requests stay",
        f"{SHOP}/server/test_workers.py",
        "test_300_half_sent_requests_are_gone_after_the_time_out_while_200_sessions_go_on",
    ),
    ("trickled requests stay", f"{SHOP}/server/test_connections.py", "test_trickling_bytes_do_not_buy_time"),
    (
        "connections have no limit",
        f"{SHOP}/server/test_connections.py",
        "test_a_connection_above_the_limit_is_told_so_and_closed",
    ),
    (
        "programs lock people out",
        f"{SHOP}/server/test_batch.py",
        "test_programs_that_take_all_they_may_leave_room_for_people",
    ),
    ("a client has no quota", f"{SHOP}/server/test_batch.py", "test_a_program_at_its_quota_locks_nobody_out"),
    ("there are no figures", f"{SHOP}/server/test_batch.py", "test_the_figures_count_what_happened"),
    # 4: where pages and searches differ from the original
    (
        "two blanks inside a search",
        f"{SHOP}/rules/test_shop.py",
        "test_special_queries_find_by_category_query_and_attribute",
    ),
    (
        "an option without text",
        f"{SHOP}/rules/test_shop.py",
        "test_an_option_without_text_is_not_offered_since_nothing_could_click_it",
    ),
    ("a quoted word marks an option", f"{SHOP}/rules/test_render.py", "test_a_quoted_word_of_the_query_marks_a_label"),
    # 5: TRL's rows
    ("TRL's prompt has no instruction", f"{SHOP}/adapters/test_trl.py", "test_rows_hold_a_conversation_and_a_goal"),
    # 6: options of wrong types
    ("goal True opens goal 1", f"{SHOP}/gym/test_env.py", "test_a_goal_of_another_type_is_refused_by_name"),
    (
        "a wrong type does not name its option",
        f"{SHOP}/gym/test_env.py",
        "test_a_goal_that_is_no_integer_is_refused_by_the_name_of_the_option",
    ),
    # 7: commands and odd requests
    (
        "play refuses actions as agents write them",
        f"{SHOP}/commands/test_play.py",
        "test_actions_are_taken_as_agents_write_them_and_wrong_ones_cost_no_step",
    ),
    (
        "import does not name its flag",
        f"{SHOP}/commands/test_catalogue.py",
        "test_an_existing_catalogue_is_replaced_only_if_asked_for",
    ),
    (
        "TRACE breaks the format of errors",
        f"{SHOP}/server/test_app.py",
        "test_a_wrong_method_is_answered_in_the_documented_format_everywhere",
    ),
    (
        "a wrong content type is not named",
        f"{SHOP}/server/test_app.py",
        "test_a_body_of_another_type_is_refused_by_the_name_of_its_type",
    ),
    # 8: steps after the end
    (
        "steps after a purchase go on silently",
        f"{SHOP}/gym/test_env.py",
        "test_a_step_after_the_end_is_refused_unless_it_is_allowed",
    ),
    (
        "the classic class goes on, as the original",
        f"{SHOP}/rules/test_shop.py",
        "test_one_can_search_and_buy_again_after_a_purchase",
    ),
    # 9: costs
    ("building goals is superlinear", f"{SHOP}/goals/test_columns.py", "test_twice_the_products_take_twice_the_work"),
    (
        "the first snapshot takes a fingerprint",
        f"{SHOP}/catalogue/test_products.py",
        "test_no_snapshot_pays_for_the_fingerprint",
    ),
    # 10: switches, loops and vocabularies
    (
        "memory and files differ by switches",
        f"{SHOP}/catalogue/test_products.py",
        "test_products_in_memory_and_in_files_answer_alike",
    ),
    (
        "each adapter has a loop of its own",
        f"{SHOP}/episodes/test_episode.py",
        "test_an_episode_is_what_the_rules_say_step_by_step",
    ),
    (
        "splits have two vocabularies",
        f"{SHOP}/adapters/test_tasks.py",
        "test_both_conventions_divide_the_goals_as_published",
    ),
    # found last: the README's command for looking into a run
    (
        "a run's pages differ from the catalogue",
        "tests/test_run_viewer.py",
        "test_every_page_of_a_smoke_run_is_shown_as_its_own_and_forks",
    ),
    (
        "nor does a browser show them",
        f"{SHOP}/test_browser_run.py",
        "test_every_page_of_every_episode_is_its_own_and_is_forked",
    ),
]

MISSED = [
    ("evaluate", f"{SHOP}/gym/test_evaluation.py", "test_results_are_those_of_the_episodes"),
    ("goals by instruction", f"{SHOP}/goals/test_selection.py", "test_goals_are_found_by_their_instruction"),
    ("tables as CSV", f"{SHOP}/catalogue/test_tables.py", "test_csv"),
    ("tables as Parquet", f"{SHOP}/catalogue/test_tables.py", "test_parquet_with_lists_and_with_text"),
    ("tables as data sets", f"{SHOP}/catalogue/test_tables.py", "test_a_data_set_open_and_saved"),
    (
        "a card of a catalogue",
        f"{SHOP}/cards/test_catalogue_card.py",
        "test_the_card_has_a_row_for_each_fact_and_a_column_for_each_catalogue",
    ),
    (
        "people's trajectories",
        f"{SHOP}/episodes/test_human_trajectories.py",
        "test_the_published_trajectories_are_sound_and_their_rewards_add_up",
    ),
    ("numbered actions with a mask", "tests/test_learners.py", "test_maskable_ppo_trains_and_takes_only_legal_actions"),
    ("RLlib", "tests/test_learners.py", "test_rllib_trains_some_thousand_steps_on_legal_actions_and_gets_better"),
    (
        "verl's agent loop",
        f"{SHOP}/adapters/test_verl.py",
        "test_trajectories_are_played_side_by_side_to_their_own_rewards",
    ),
    (
        "verl-agent's builder",
        f"{SHOP}/adapters/test_verl_agent.py",
        "test_its_own_builder_is_replaced_and_its_manager_drives_episodes_to_a_win",
    ),
    ("AgentGym-RL", f"{SHOP}/adapters/test_agentgym.py", "test_rollouts_of_agentgym_rl_are_played_side_by_side"),
    ("ROLL", f"{SHOP}/adapters/test_roll.py", "test_the_best_actions_win_and_every_page_is_the_shops"),
    ("verifiers", f"{SHOP}/adapters/test_verifiers.py", "test_the_best_actions_earn_the_purchase"),
    ("batched HTTP", f"{SHOP}/server/test_batch.py", "test_many_sessions_are_opened_and_stepped_as_one_by_one"),
    ("shaped rewards", f"{SHOP}/gym/test_shaping.py", "test_shaped_and_plain_rewards_have_the_same_best_actions"),
    ("goal filters", f"{SHOP}/goals/test_selection.py", "test_a_filter_keeps_just_the_goals_it_describes"),
    (
        "curricula",
        f"{SHOP}/goals/test_selection.py",
        "test_a_curriculum_goes_from_easy_to_hard_and_holds_every_goal_once",
    ),
    (
        "product pictures",
        f"{SHOP}/server/test_pictures.py",
        "test_the_item_page_shows_a_picture_only_where_it_was_asked_for",
    ),
    (
        "screenshots and accessibility trees",
        f"{SHOP}/browser/test_pages.py",
        "test_every_page_of_an_episode_is_seen_as_text_as_a_picture_and_as_a_tree",
    ),
    (
        "BrowserGym",
        f"{SHOP}/browser/test_browsergym.py",
        "test_an_episode_in_the_browser_earns_what_the_same_actions_earn_as_text",
    ),
    (
        "adversarial pages",
        f"{SHOP}/catalogue/test_injections.py",
        "test_obeying_is_doing_what_was_asked_while_it_was_shown",
    ),
    (
        "several processes over one catalogue",
        f"{SHOP}/server/test_workers.py",
        "test_two_processes_over_one_stored_catalogue_serve_200_sessions",
    ),
    (
        "states of the classic class",
        f"{SHOP}/adapters/test_classic.py",
        "test_a_state_is_got_and_set_in_another_environment_of_the_same_server",
    ),
]


@pytest.mark.parametrize(("found", "file", "name"), [*FAULTS, *MISSED])
def test_what_was_found_is_held_by_a_test(found: str, file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, found


def test_no_adapter_and_no_environment_has_a_loop_of_its_own() -> None:
    source = ROOT / "packages/webshop-env/src/sightline/webshop_env"
    loops = [path for room in ("adapters", "gym") for path in (source / room).glob("*.py") if _acts(path)]
    assert loops == []


def _acts(path: Path) -> bool:
    """Tell whether a file steps the rules itself instead of an episode."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    acts = (call.value for call in calls if isinstance(call, ast.Attribute) and call.attr == "act")
    return any("shop" in ast.unparse(acting) for acting in acts)
