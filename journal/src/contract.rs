//! What every broker promises, as tests: [`memory`](crate::memory) and [`nats`](crate::nats) pass the same ones, and
//! that is why a simulation against memory says something about a cluster.
//!
//! ```text
//! async fn fresh() -> (journal::Shared, Guard) { .. } // nothing is provisioned on it; the guard lives as long as the test
//! journal::contract_tests!(fresh, (start_paused = true)); // the arguments of #[tokio::test]
//! ```
//! Nothing here sleeps to let something happen: what must happen is waited for, and bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests that live in a library, so that every implementation can run them"
)]

pub mod append;
pub mod bus;
mod chat;
pub mod claim;
pub mod follow;
pub mod provision;
pub mod read;
pub mod store;
pub mod work;

use std::future::Future;
use std::time::Duration;

use protocol::ids::{AgentName, OrchestrationName};
use tokio::time::timeout;

use self::chat::Chat;
use crate::{Plan, Shared};

/// Makes one `#[tokio::test]` of each case. `$fresh` is an async function without arguments that returns a
/// [`Shared`] broker on which nothing is provisioned, and a guard.
#[macro_export]
macro_rules! contract_tests {
    ($fresh:ident, $options:tt) => {
        $crate::contract_tests!(@ $fresh, $options, append, [
            the_first_entry_goes_behind_nothing,
            each_entry_goes_behind_the_one_before_it,
            a_stale_tail_is_fenced_and_told_the_real_one,
            of_racing_writers_exactly_one_wins_every_round,
            conversations_do_not_fence_each_other,
            orchestrations_do_not_fence_each_other,
            the_same_entry_again_is_the_same_entry,
            the_same_id_with_other_words_is_another_entry,
            whoever_lost_is_told_so_again,
            nothing_is_appended_to_an_erased_conversation,
            nothing_is_appended_where_everything_was_purged,
            without_a_stream_it_is_refused,
            a_full_stream_refuses_and_takes_again_after_a_purge,
        ]);
        $crate::contract_tests!(@ $fresh, $options, claim, [
            a_large_entry_is_stored_and_read_whole,
            a_large_entry_that_is_fenced_leaves_no_object,
            of_racing_large_entries_one_is_stored_whole,
            an_entry_beyond_every_limit_is_refused,
            a_large_entry_again_is_the_same_entry,
            a_large_entry_under_the_id_of_another_does_not_replace_it,
            a_large_entry_through_another_process_leaves_the_object_to_the_first,
            an_entry_whose_object_is_lost_is_told_from_one_that_is_not_there,
            a_purge_takes_the_objects_along,
            a_conversation_with_large_entries_loads_whole,
        ]);
        $crate::contract_tests!(@ $fresh, $options, read, [
            where_there_is_no_conversation_there_is_nothing,
            what_was_appended_is_read_back_byte_for_byte,
            ids_that_begin_alike_are_not_mixed_up,
            sealing_entries_come_all_or_not_at_all,
            a_long_conversation_loads_whole,
            bytes_that_no_version_writes_end_a_conversation,
            a_purge_leaves_what_is_not_below,
            without_a_stream_reading_fails,
        ]);
        $crate::contract_tests!(@ $fresh, $options, work, [
            items_come_in_order_and_to_their_agent_only,
            no_more_is_taken_than_there_is_room_for,
            whoever_waits_gets_what_is_appended_later,
            whoever_stops_waiting_loses_nothing,
            an_acked_item_never_comes_again,
            a_terminated_item_never_comes_again,
            an_item_given_back_comes_again_after_the_delay,
            an_item_nobody_settles_comes_again_after_the_ack_wait,
            an_extended_item_does_not_come_again,
            closing_gives_back_what_was_not_taken,
            what_was_on_its_way_to_the_dead_comes_to_the_living,
            a_source_that_is_gone_takes_nothing_more,
            two_sources_share_without_doubling,
            no_more_is_in_flight_than_the_plan_allows,
            an_item_older_than_the_ack_wait_says_so,
            an_item_that_has_waited_for_a_second_says_so,
            a_consumer_made_late_begins_with_the_oldest_item,
            a_consumer_made_anew_begins_where_its_work_does,
            a_consumer_made_anew_says_what_another_may_have_delivered,
            a_purged_item_is_not_delivered,
            without_a_consumer_there_is_no_work,
        ]);
        $crate::contract_tests!(@ $fresh, $options, follow, [
            everything_comes_in_order_without_gap_while_others_append,
            from_after_a_place_on,
            from_now_on,
            one_conversation_only,
            headers_come_without_bodies_where_they_are_enough,
            without_a_stream_there_is_nothing_to_follow,
        ]);
        $crate::contract_tests!(@ $fresh, $options, bus, [
            what_is_said_reaches_all_who_listen_there,
            wildcards_listen_to_many_subjects,
            a_queue_group_gets_each_message_once,
            a_question_gets_an_answer,
            headers_go_along,
            a_question_to_nobody_is_refused_at_once,
            whoever_stopped_listening_is_nobody,
            a_question_without_an_answer_times_out,
            all_who_listen_can_be_asked,
            a_drained_connection_is_down,
        ]);
        $crate::contract_tests!(@ $fresh, $options, store, [
            a_value_is_read_back_with_its_revision,
            a_value_is_written_only_over_the_expected_one,
            a_value_is_created_only_where_there_is_none,
            a_value_is_deleted_only_as_expected,
            of_racing_writers_of_a_value_exactly_one_wins,
            keys_are_listed_by_their_beginning,
            a_value_is_forgotten_after_its_time,
            without_a_bucket_values_are_missing,
            an_object_of_any_size_is_got_back_byte_for_byte,
            an_object_is_replaced_by_the_next_of_its_name,
            a_deleted_object_is_absent,
            orchestrations_do_not_share_objects,
            an_object_needs_a_name_and_may_have_any,
            without_a_bucket_objects_are_missing,
            a_dead_letter_is_kept_apart_from_the_conversation,
            a_consumer_says_where_it_stands,
            the_last_sequence_is_that_of_the_newest_entry,
            ends_are_found_one_after_the_other,
            ticks_follow_the_brokers_clock,
        ]);
        $crate::contract_tests!(@ $fresh, $options, provision, [
            it_creates_what_is_missing_and_nothing_twice,
            a_further_agent_gets_its_consumer,
            what_is_missing_is_reported_by_those_who_only_verify,
            what_differs_is_refused_and_left_alone,
            an_agent_that_retires_loses_its_consumer_and_nothing_else,
            nobody_retires_where_nothing_is_provisioned,
        ]);
    };
    (@ $fresh:ident, $options:tt, $module:ident, [$($case:ident),* $(,)?]) => {
        mod $module {
            $(#[tokio::test $options]
            async fn $case() {
                let (broker, _guard) = super::$fresh().await;
                $crate::contract::$module::$case(broker).await;
            })*
        }
    };
}

/// An ack wait that passes during a test.
const SHORT: Duration = Duration::from_secs(1);
/// An ack wait that does not.
const LONG: Duration = Duration::from_secs(600);
/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn orchestration() -> OrchestrationName {
    "support".parse().unwrap()
}

fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

fn plan(ack_wait: Duration) -> Plan {
    Plan { ack_wait, ..Plan::new(orchestration(), vec![agent("triage"), agent("refund")]) }
}

async fn provisioned(broker: Shared, ack_wait: Duration) -> Shared {
    within("provisioning", broker.provision(&plan(ack_wait))).await.unwrap();
    broker
}

/// Waits for what must happen, and fails by its name when it does not.
async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Looks until `look` finds what it waits for.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut interval = tokio::time::interval(Duration::from_millis(20));
    within(what, async {
        loop {
            interval.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    /// A case that is not listed never runs.
    #[test]
    fn every_case_is_listed() {
        let listed = include_str!("contract.rs");
        let files = [
            include_str!("contract/append.rs"),
            include_str!("contract/claim.rs"),
            include_str!("contract/read.rs"),
            include_str!("contract/work.rs"),
            include_str!("contract/follow.rs"),
            include_str!("contract/bus.rs"),
            include_str!("contract/store.rs"),
            include_str!("contract/provision.rs"),
        ];
        let cases = files.iter().flat_map(|file| file.lines()).filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next());
        let unlisted: Vec<_> = cases.filter(|case| !listed.contains(&format!("            {case},\n"))).collect();
        assert_eq!(unlisted, Vec::<&str>::new());
    }
}
