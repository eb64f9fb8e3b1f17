//! The promises of a store, kept through HTTP: by the requests that are sent, the answers that
//! come back, and the errors that clients can tell apart.

use std::sync::Arc;

use factum_store::MemoryStore;
use factum_store::conformance::{Setting, Subject};
use factum_store_embedded::EmbeddedStore;
use factum_store_postgres::{PostgresStore, Setup};
use factum_testkit::postgres::Database;

use crate::http_store::HttpStore;

async fn open(setting: Setting) -> Subject {
    let behind = MemoryStore::with(setting.clock.clone(), setting.ids.clone());
    let store = HttpStore::open(&setting, Arc::new(behind)).await;
    Subject::new(&setting, store, ())
}

async fn open_embedded(setting: Setting) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let behind = EmbeddedStore::open(factum_store_embedded::Options {
        clock: setting.clock.clone(),
        ids: setting.ids.clone(),
        ..factum_store_embedded::Options::at(directory.path())
    });
    let store = HttpStore::open(&setting, Arc::new(behind.unwrap())).await;
    Subject::new(&setting, store, directory)
}

async fn open_postgres(setting: Setting) -> Subject {
    let database = Database::create();
    Setup::default().run(&database.url()).await.unwrap();
    let behind = PostgresStore::open(factum_store_postgres::Options {
        clock: setting.clock.clone(),
        ids: setting.ids.clone(),
        ..factum_store_postgres::Options::at(database.url())
    });
    let store = HttpStore::open(&setting, Arc::new(behind.await.unwrap())).await;
    Subject::new(&setting, store, database)
}

/// Asks a store behind HTTP for the promises that can be asked so.
macro_rules! promises_over_http {
    ($name:ident, $open:ident) => {
        factum_store::conformance_tests! {
            $name, $open;
            appends: [
                first_event_gets_the_first_places,
                events_of_a_request_are_contiguous_and_in_order,
                empty_request_is_refused,
                missing_timestamp_is_the_time_of_recording,
                every_field_comes_back,
                names_at_their_limits_are_kept_apart,
                recorded_at_never_decreases,
                assigned_ids_are_distinct_and_of_version_7,
                concurrent_appends_leave_no_gap,
            ],
            versions: [
                expectations_are_checked_against_the_stream,
                same_id_under_another_type_is_another_stream,
                one_unmet_expectation_refuses_the_whole_request,
                each_version_is_won_once,
                first_event_of_a_stream_is_won_once,
            ],
            repeats: [
                repeated_event_returns_the_original_receipt,
                repeated_batch_returns_the_original_receipts,
                id_twice_in_a_request_is_refused,
                same_request_at_once_is_stored_once,
                assigned_fields_are_no_difference,
                repeat_is_found_before_any_other_check,
                checks_come_in_the_promised_order,
            ],
            causes: [
                given_correlation_wins,
                unknown_cause_is_kept_and_gives_nothing,
                inherited_correlation_is_found_by_filters,
            ],
            conditions: [
                failed_condition_changes_nothing_and_names_the_first_match,
                condition_does_not_see_the_events_of_its_own_request,
                condition_sees_events_of_the_engine,
                condition_is_won_once,
            ],
            reads: [
                empty_store_has_empty_pages,
                log_is_read_in_both_directions,
                every_range_is_read_in_both_directions,
                bounds_past_the_head_are_harmless,
                every_filter_means_what_the_evaluator_says,
                events_of_the_engine_are_hidden_from_applications,
                page_ends_at_its_limit,
                event_is_found_by_its_id,
            ],
            paging: [
                pages_of_any_size_make_the_whole,
                pages_are_right_while_others_append,
                backward_pages_are_right_while_others_append,
            ],
            streams: [
                stream_is_read_in_both_directions_and_any_range,
                unknown_stream_is_empty,
                stream_pages_make_the_whole,
                stream_info_tells_first_and_last,
                aggregate_types_of_an_id_are_sorted,
            ],
            watching: [
                head_is_readable_whenever_it_is_shown,
                acknowledged_events_are_visible_at_once,
                closed_store_takes_no_appends_but_reads,
            ],
        }
    };
}

promises_over_http!(http, open);
promises_over_http!(http_embedded, open_embedded);
promises_over_http!(http_postgres, open_postgres);

/// The promises that are not asked through HTTP, and why.
const NOT_OVER_HTTP: &[(&str, &str)] = &[
    (
        "texts_come_back_byte_for_byte",
        "white space around a payload is part of the body; `reads` asks for the bytes within",
    ),
    (
        "large_events_and_large_requests_are_taken",
        "the model store walks its log for each of the thousand events",
    ),
    (
        "expectation_of_a_stream_without_events_in_the_request_counts",
        "an expectation stands on the first event of its stream",
    ),
    (
        "correlation_is_inherited_from_a_stored_cause",
        "that a correlation was inherited is not part of an event on the wire",
    ),
    (
        "correlation_is_inherited_within_a_request",
        "that a correlation was inherited is not part of an event on the wire",
    ),
    (
        "condition_fails_exactly_when_a_later_event_matches",
        "the engine takes conditions only of what an index answers",
    ),
    (
        "id_with_other_content_is_refused",
        "it also asks for a request that skips; `appends` has the other",
    ),
    (
        "partial_repeat_is_refused_unless_skipped",
        "a bulk append, which skips, answers by chunk and not by event",
    ),
    (
        "skipped_part_keeps_its_place_and_the_rest_is_appended",
        "a bulk append, which skips, answers by chunk and not by event",
    ),
    (
        "correlation_is_inherited_from_a_skipped_cause",
        "a bulk append, which skips, answers by chunk and not by event",
    ),
    (
        "page_ends_when_its_bytes_are_full",
        "how many bytes a page has is for the server to say",
    ),
    (
        "bounded_scan_makes_progress",
        "how much a read looks at is for the server to say",
    ),
    (
        "cursor_leads_back_to_its_position",
        "clients do not look into cursors",
    ),
    (
        "stream_page_ends_at_its_limit_or_bytes",
        "how many bytes a page has is for the server to say",
    ),
    (
        "watch_wakes_for_an_append",
        "live delivery has tests of its own",
    ),
    (
        "healthy_store_says_so",
        "the health report has tests of its own",
    ),
];

#[test]
fn every_promise_is_asked_or_excused() {
    let list = include_str!("../../../factum-store/src/conformance/list.rs");
    let (_, list) = list.split_once("$crate::conformance_tests! {").unwrap();
    let (list, _) = list.split_once("\n        }\n").unwrap();
    let asked = include_str!("conformance.rs");
    let (asked, _) = asked.split_once("const NOT_OVER_HTTP").unwrap();
    let names = |text: &'static str| {
        let lines = text.lines().map(str::trim);
        lines
            .filter_map(|line| line.strip_suffix(','))
            .filter(|name| {
                !name.is_empty()
                    && name.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()
                    })
            })
    };
    let mut n_promises = 0;
    for promise in names(list) {
        n_promises += 1;
        let asked = names(asked).any(|name| name == promise);
        let excused = NOT_OVER_HTTP
            .iter()
            .any(|(name, why)| *name == promise && !why.is_empty());
        assert!(asked != excused, "{promise}");
    }
    assert!(n_promises > 50);
}
