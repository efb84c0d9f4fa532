//! What every store must do. Each test gets a [`Fixture`] with a fresh, empty store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod backlog;
mod directory;
mod explain;
mod identities;
mod life;
mod log;
mod places;
mod rest;
mod sessions;
mod threads;
mod uids;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{OrgId, PartitionId, Partitioning, Position, TopicName};
use wire::{Entry, Kind};

pub use backlog::*;
pub use directory::*;
pub use explain::*;
pub use identities::*;
pub use life::*;
pub use log::*;
pub use places::*;
pub use rest::*;
pub use sessions::*;
pub use threads::*;
pub use uids::*;

use crate::{Advance, Flags, LogBatch, NewMessage, Service, Store};

/// Opens the same store again and again, as a process that starts does.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens what was there before.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes one test of each function of the suite; `$make` is an async function that gives a [`Fixture`].
#[macro_export]
macro_rules! store_suite {
    ($make:expr) => {
        $crate::store_suite!(@each $make,
            a_store_is_of_one_log
            an_empty_store_is_bound_once
            progress_and_rows_go_together
            a_batch_that_begins_elsewhere_is_refused
            messages_are_found_in_their_topic
            a_uid_that_comes_twice_is_stored_twice
            uids_come_in_the_order_of_the_log
            uids_of_the_last_days_are_told_and_no_older_ones
            sums_survive_a_restart
            old_publishes_are_removed_and_nothing_else
            a_backlog_has_what_a_naive_walk_finds
            a_hot_topic_is_read_a_page_at_a_time
            a_busy_topic_among_many_is_read_whole
            a_page_has_one_entry_however_large
            history_has_what_a_naive_walk_finds
            epochs_grow_whatever_becomes_of_the_session
            a_stale_epoch_changes_nothing
            sessions_become_what_the_rules_say
            open_threads_are_listed_alone
            a_thread_is_handed_on_and_shared
            a_thread_is_closed_and_opened_again
            who_speaks_in_a_thread_that_is_not_open_makes_it_pending
            threads_become_what_the_model_says
            a_place_is_taken_with_who_has_the_fewest
            places_that_were_not_used_are_given_back
            the_last_place_is_taken_once
            notices_are_owed_until_they_are_told
            pending_threads_come_in_order
            waiting_threads_come_in_order
            idle_threads_are_open_and_silent
            offers_are_due_after_their_time
            who_takes_part_in_a_thread
            what_was_left_is_listed_and_has_nothing_unread
            memberships_are_known_that_last_or_end_later
            others_have_had_a_thread_of_an_own_desk
            a_thread_shows_its_visitor_and_how_far_it_is
            wills_are_due_once
            a_retained_message_is_replaced_cleared_and_expires
            receipts_move_forward_only
            unread_counts_equal_a_recount
            who_reads_an_edited_message_has_read_the_edit
            the_sessions_of_a_dead_edge_are_ended_and_fenced
            the_sessions_of_a_user_can_be_listed
            a_session_is_present_once_a_state_was_saved
            whoever_opens_a_session_is_told_of_its_threads
            a_uid_is_found_wherever_it_stands
            a_message_tells_how_far_it_came_with_whom
            a_uid_that_was_proven_stays_so
            the_directory_is_what_was_put_there
            a_change_of_the_directory_that_does_not_fit_is_refused
            a_seed_is_entered_once_whatever_became_of_it
            the_directory_tells_which_organisations_have_changed
        );
    };
    (@each $make:expr, $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::suite::$name(&$make().await).await;
            }
        )*
    };
}

const ORG: &str = "o";

fn org() -> OrgId {
    OrgId::new(ORG)
}

fn partitioning() -> Partitioning {
    Partitioning::new(3)
}

/// A small generator of test data; the seed is the test's.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Feeds a store as persistence does: each entry in a frame of its own.
struct Feed {
    store: Arc<dyn Store>,
    at: Vec<Position>,
    batch: LogBatch,
}

impl Feed {
    async fn new(store: Arc<dyn Store>) -> Self {
        let mut at = vec![Position::START; usize::from(partitioning().count())];
        for (p, position) in store.progress(Service::Persistence).await.unwrap() {
            at[usize::from(p.0)] = position;
        }
        Self {
            store,
            at,
            batch: LogBatch::default(),
        }
    }

    fn push(&mut self, entry: Entry, flags: Flags) -> Position {
        let partition = entry.partition(partitioning());
        let from = self.at[usize::from(partition.0)];
        let position = Position::new(model::FrameSeq(from.seq().0 + 1), 0);
        let to = Position::end_of(position.seq());
        self.at[usize::from(partition.0)] = to;
        match self.batch.advances.iter_mut().find(|a| a.partition == partition) {
            Some(step) => step.to = to,
            None => self.batch.advances.push(Advance { partition, from, to }),
        }
        let bytes = entry.to_bytes();
        self.batch.messages.push(NewMessage {
            partition,
            position,
            flags,
            entry,
            bytes,
        });
        position
    }

    async fn apply(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.store.apply(Arc::new(batch)).await.unwrap();
    }
}

fn chat(topic: &str, uid: &str, sender: &str) -> Entry {
    Entry {
        kind: Kind::Chat.into(),
        org: ORG.into(),
        topic: topic.into(),
        sender: sender.into(),
        sender_role: 2,
        author: sender.into(),
        uid: uid.into(),
        r#type: "TEXT".into(),
        accepted_at: 1000,
        payload: Bytes::copy_from_slice(uid.as_bytes()),
        ..Entry::default()
    }
}

fn generic(topic: &str, at: u64) -> Entry {
    let kind = Kind::Generic.into();
    Entry {
        kind,
        accepted_at: at,
        uid: String::new(),
        ..chat(topic, "", "u")
    }
}

const TEXT: Flags = Flags(Flags::SHOWN.0 | Flags::COUNTABLE.0);

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    partitioning().of(ORG, name)
}
