//! The list of all promises about bookkeeping, and the macro that makes tests of them.

/// Expands one test per promise, in a module `$name`, for the store that `$open` opens: an async
/// function of the surrounding module that takes a [`Setting`](crate::conformance::Setting) and
/// returns a [`StateSubject`](crate::conformance::state::StateSubject). The crate needs tokio with
/// `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! state_conformance {
    ($name:ident, $open:ident) => {
        $crate::state_conformance_tests! {
            $name, $open;
            records: [
                absent_record_is_none,
                record_comes_back_byte_for_byte,
                longest_names_are_kept_apart,
                preconditions_decide,
                version_is_never_given_twice,
                failed_batch_changes_nothing,
                first_failing_change_is_named,
                every_record_of_a_batch_has_its_version,
                due_after_counts_from_the_clock_of_the_store,
                bounds_are_named,
                contradictions_are_refused,
                watch_changes_with_a_write,
                closed_store_takes_no_changes,
                healthy_store_says_so,
            ],
            scans: [
                keys_are_ordered_by_bytes,
                every_range_is_scanned_in_both_directions,
                pages_of_any_size_make_the_whole,
                page_ends_when_its_bytes_are_full,
                groups_are_scanned_and_counted,
            ],
            queues: [
                only_due_records_are_claimed_oldest_first,
                claimed_record_is_hidden_until_its_time_is_up,
                late_completion_counts_until_another_claims,
                extended_claim_stays_hidden,
                extending_without_a_claim_is_refused,
                write_ends_a_claim,
                retry_comes_back_when_it_is_due,
                claims_are_counted_until_a_write,
                claim_ends_when_its_bytes_are_full,
                abandoned_claims_are_due_again,
                status_tells_what_waits,
                claim_tells_when_to_come_again,
            ],
            orders: [
                free_order_ignores_groups,
                one_at_a_time_claims_one_record_of_a_group,
                one_at_a_time_lets_a_retry_be_overtaken,
                in_order_waits_for_the_first_of_a_group,
                parked_record_holds_up_nobody,
                records_without_group_are_free,
                groups_of_other_kinds_are_others,
            ],
            leases: [
                lease_is_held_by_one,
                lease_runs_out_by_the_clock_of_the_store,
                renewed_lease_lasts_longer,
                lease_that_ran_out_cannot_be_renewed,
                released_lease_is_free_and_lost,
                epochs_only_grow,
                owner_that_asks_again_loses_the_earlier_grant,
                fence_keeps_a_stale_owner_from_writing,
                fence_is_checked_before_preconditions,
                held_leases_are_listed,
            ],
            racing: [
                compare_and_set_is_won_once,
                new_record_is_made_once,
                opposite_batches_both_end,
                lease_is_won_once,
                no_record_is_claimed_by_two,
                order_within_a_group_holds_with_many_workers,
                page_is_of_one_instant,
                fenced_writes_never_go_back_while_time_passes,
                work_is_completed_once_while_time_passes,
            ],
        }
    };
}

/// The inside of [`state_conformance!`](crate::state_conformance!).
#[doc(hidden)]
#[macro_export]
macro_rules! state_conformance_tests {
    ($name:ident, $open:ident; $($group:ident: [$($promise:ident,)*],)*) => {
        mod $name {
            $(mod $group {
                $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let setting = $crate::conformance::Setting::new();
                    let subject = super::super::$open(setting).await;
                    $crate::conformance::state::$group::$promise(&subject).await;
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
            include_str!("leases.rs"),
            include_str!("orders.rs"),
            include_str!("queues.rs"),
            include_str!("racing.rs"),
            include_str!("records.rs"),
            include_str!("scans.rs"),
        ];
        for line in sources.iter().flat_map(|source| source.lines()) {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let name = rest.split('(').next().unwrap();
                assert!(list.contains(&format!(" {name},\n")), "{name}");
            }
        }
    }
}
