//! The list of all promises, and the macro that makes tests of them.

/// Expands one test per promise, in a module `$name`, for the store that `$open` opens: an async
/// function of the surrounding module that takes a [`Setting`](crate::conformance::Setting) and
/// returns a [`Subject`](crate::conformance::Subject). The crate needs tokio with `macros` and
/// `rt-multi-thread`.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $open:ident) => {
        $crate::conformance_tests! {
            $name, $open;
            appends: [
                first_event_gets_the_first_places,
                events_of_a_request_are_contiguous_and_in_order,
                empty_request_is_refused,
                every_field_comes_back,
                texts_come_back_byte_for_byte,
                names_at_their_limits_are_kept_apart,
                large_events_and_large_requests_are_taken,
                missing_timestamp_is_the_time_of_recording,
                recorded_at_never_decreases,
                assigned_ids_are_distinct_and_of_version_7,
                concurrent_appends_leave_no_gap,
            ],
            versions: [
                expectations_are_checked_against_the_stream,
                same_id_under_another_type_is_another_stream,
                one_unmet_expectation_refuses_the_whole_request,
                expectation_of_a_stream_without_events_in_the_request_counts,
                each_version_is_won_once,
                first_event_of_a_stream_is_won_once,
            ],
            repeats: [
                repeated_event_returns_the_original_receipt,
                repeated_batch_returns_the_original_receipts,
                repeat_is_found_before_any_other_check,
                id_with_other_content_is_refused,
                id_twice_in_a_request_is_refused,
                same_request_at_once_is_stored_once,
                partial_repeat_is_refused_unless_skipped,
                skipped_part_keeps_its_place_and_the_rest_is_appended,
                checks_come_in_the_promised_order,
                assigned_fields_are_no_difference,
            ],
            causes: [
                correlation_is_inherited_from_a_stored_cause,
                correlation_is_inherited_within_a_request,
                correlation_is_inherited_from_a_skipped_cause,
                given_correlation_wins,
                unknown_cause_is_kept_and_gives_nothing,
                inherited_correlation_is_found_by_filters,
            ],
            conditions: [
                condition_fails_exactly_when_a_later_event_matches,
                failed_condition_changes_nothing_and_names_the_first_match,
                condition_does_not_see_the_events_of_its_own_request,
                condition_sees_events_of_the_engine,
                condition_is_won_once,
            ],
            reads: [
                empty_store_has_empty_pages,
                log_is_read_in_both_directions,
                every_range_is_read_in_both_directions,
                every_filter_means_what_the_evaluator_says,
                events_of_the_engine_are_hidden_from_applications,
                page_ends_at_its_limit,
                page_ends_when_its_bytes_are_full,
                bounds_past_the_head_are_harmless,
                event_is_found_by_its_id,
            ],
            paging: [
                pages_of_any_size_make_the_whole,
                bounded_scan_makes_progress,
                pages_are_right_while_others_append,
                backward_pages_are_right_while_others_append,
                cursor_leads_back_to_its_position,
            ],
            streams: [
                stream_is_read_in_both_directions_and_any_range,
                unknown_stream_is_empty,
                stream_page_ends_at_its_limit_or_bytes,
                stream_pages_make_the_whole,
                stream_info_tells_first_and_last,
                aggregate_types_of_an_id_are_sorted,
            ],
            watching: [
                acknowledged_events_are_visible_at_once,
                head_is_readable_whenever_it_is_shown,
                watch_wakes_for_an_append,
                closed_store_takes_no_appends_but_reads,
                healthy_store_says_so,
            ],
        }
    };
}

/// The inside of [`conformance!`](crate::conformance!).
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($name:ident, $open:ident; $($group:ident: [$($promise:ident,)*],)*) => {
        mod $name {
            $(mod $group {
                $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let setting = $crate::conformance::Setting::new();
                    let subject = super::super::$open(setting).await;
                    $crate::conformance::$group::$promise(&subject).await;
                })*
            })*
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_promise_is_on_the_list() {
        let list = include_str!("list.rs");
        let sources = [
            include_str!("appends.rs"),
            include_str!("causes.rs"),
            include_str!("conditions.rs"),
            include_str!("paging.rs"),
            include_str!("reads.rs"),
            include_str!("repeats.rs"),
            include_str!("streams.rs"),
            include_str!("versions.rs"),
            include_str!("watching.rs"),
        ];
        for line in sources.iter().flat_map(|source| source.lines()) {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let name = rest.split('(').next().unwrap();
                assert!(list.contains(&format!(" {name},\n")), "{name}");
            }
        }
    }
}
