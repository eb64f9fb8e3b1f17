//! Agent sessions over a real store: every type and every refusal, races, silence, secrets,
//! checkpoints, and taking over.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test has to say, it says by panicking"
)]

mod catalogue;
mod checkpoints;
mod harness;
mod queries;
mod races;
mod real_data;
mod resume;
mod secrets;
mod silence;

/// Runs every promise against the log in a place.
macro_rules! promises {
    ($place:ident) => {
        promises! { $place;
            catalogue { every_type_is_taken_whole_and_refused_without_each_required_field, further_fields_are_kept_byte_for_byte, each_mistake_has_an_error_of_its_own, heartbeats_and_ends_are_refused_in_the_same_words, a_store_that_is_closed_is_a_failure_of_the_store, metadata_name_the_cause_and_are_checked }
            checkpoints { a_checkpoint_is_made_once_per_crossing_of_the_bound, the_checkpoint_of_a_crossing_holds_what_the_heartbeat_says_and_is_caused_by_it, a_completed_epic_makes_a_checkpoint, instructions_are_numbered_steps_that_name_what_matters, checkpoints_that_an_agent_reports_are_found_by_their_own_id, old_checkpoints_are_deleted_once_also_of_closed_instances, what_cannot_be_a_checkpoint_is_refused }
            queries { events_by_type_time_and_words_in_pages, a_page_of_so_many_bytes_goes_on_with_the_next, questions_that_make_no_sense_are_refused, the_newest_events_and_the_counts, a_replay_ends_where_it_is_told, commands_by_action_tool_outcome_and_time, long_texts_of_commands_are_cut_in_the_middle, instances_are_listed_and_older_closed_ones_make_room, sessions_past_their_retention_are_not_offered_and_nothing_is_lost }
            races { fifty_instances_of_one_project_register_at_once, heartbeats_that_race_over_the_bound_make_one_checkpoint, events_that_race_with_the_end_come_before_it_or_are_refused, what_is_in_memory_is_what_a_replay_gives_after_any_race }
            real_data { recorded_sessions_are_killed_and_taken_over_and_nothing_is_lost }
            resume { a_successor_learns_epic_tests_branch_commit_and_next_step, confidence_and_source_follow_the_age_of_the_checkpoint_and_of_the_last_event, without_a_checkpoint_events_count_and_without_events_commands, a_hint_is_an_id_a_hash_a_prefix_a_project_or_an_epic, several_matches_are_numbered_and_one_can_be_chosen, an_active_instance_is_taken_over_only_by_force_and_a_closed_one_never, without_a_hint_the_newest_stale_one_is_meant, another_node_takes_over_with_all_that_was_recorded }
            secrets { no_secret_reaches_the_disk, what_is_refused_repeats_no_secret }
            silence { a_silent_instance_becomes_stale_once_and_a_heartbeat_revives_it, the_event_says_since_when_and_names_the_last_heartbeat_as_its_cause, a_server_that_dies_before_it_finds_out_finds_out_after_its_start_and_once, several_nodes_that_look_at_once_record_one_silence_once, a_heartbeat_that_races_with_the_sweep_leaves_no_false_silence, closed_instances_are_not_silent, a_node_that_dies_between_heartbeat_and_detection_leaves_it_to_the_others }
        }
    };
    ($place:ident; $($area:ident { $($promise:ident),* })*) => {$(
        mod $area {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let log = crate::harness::Log::$place;
                    let place = crate::harness::Place::new(log).await;
                    crate::$area::$promise(&place).await;
                }
            )*
        }
    )*};
}

mod embedded {
    promises!(Directory);
}

mod postgres {
    promises!(Database);
}
