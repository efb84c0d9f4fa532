//! What is done beside the owner about what is known of uids: claiming and loading, sealing, storing, making anew. One
//! of each at a time.

use std::sync::Arc;

use backplane::checkpoint::CheckpointError;
use dedupe::{Manifest, Stamp};
use model::Position;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::late;
use super::state::Owner;
use crate::checkpoint::{self, Missing};
use crate::inbox::{Done, Inbox};

impl Owner {
    /// Begins to load what the checkpoint has, or to find out what it is.
    pub(super) fn begin_upkeep(&mut self, inbox: &Arc<Inbox>) {
        if self.upkeep.begun.is_claimed {
            return self.load(inbox);
        }
        let (deps, begun) = (self.deps.clone(), self.upkeep.begun.after);
        let claiming = late::claim(self.partition, self.epoch, begun, deps, inbox.clone());
        self.upkeep.spawn(claiming);
    }

    pub(super) fn load(&mut self, inbox: &Arc<Inbox>) {
        let wanted = self.known.filter.wanted();
        if !wanted.is_empty() {
            let checkpoints = self.deps.checkpoints.clone();
            self.upkeep.spawn(checkpoint::load(
                checkpoints,
                self.partition,
                wanted,
                inbox.clone(),
            ));
        }
    }

    /// What is missing for good comes from the store. Once, for all of it: when it is known what the checkpoint still
    /// has.
    fn make_missing_anew(&mut self, inbox: &Arc<Inbox>) {
        let Some(at) = self.known.filter.missing() else {
            return;
        };
        let is_loading = !self.known.filter.wanted().is_empty();
        if self.upkeep.rebuild.is_some() || !self.upkeep.begun.is_claimed || is_loading {
            return;
        }
        let missing = Missing {
            partition: self.partition,
            at,
            upto: Position::end_of(self.head),
            capacity: dedupe::Config::new(self.deps.salt).capacity,
            salt: self.deps.salt,
            now: self.deps.clock.unix_millis(),
        };
        let rebuilding = checkpoint::rebuild(self.deps.persistence.clone(), missing, inbox.clone());
        self.upkeep.rebuild = Some(AbortOnDropHandle::new(tokio::spawn(rebuilding)));
    }

    /// Between two frames, none of which is in flight: a generation that is full is sealed, and now and then everything
    /// is stored.
    pub(super) fn keep_up(&mut self, inbox: &Arc<Inbox>) {
        if let Some(late) = self.upkeep.late.take() {
            self.take_up(*late, inbox);
        }
        self.make_missing_anew(inbox);
        let now = Instant::now();
        if now < self.upkeep.due || self.upkeep.storing {
            return;
        }
        self.upkeep.due = now + self.upkeep.interval;
        if let Some(sealing) = self.known.filter.tend(self.deps.clock.unix_millis()) {
            self.upkeep.spawn(checkpoint::seal(sealing, inbox.clone()));
        }
        // What the last owner has stored may be all that is known of nine days.
        if self.head == self.upkeep.stored || !self.upkeep.begun.is_claimed {
            return;
        }
        self.upkeep.stored = self.head;
        self.upkeep.storing = true;
        let made = self.known.filter.checkpoint(&Stamp {
            log_epoch: self.deps.journal.epoch(),
            partition: self.partition,
            position: Position::end_of(self.head),
            owner_epoch: self.epoch,
        });
        let checkpoints = self.deps.checkpoints.clone();
        let storing = checkpoint::store(checkpoints, self.partition, self.epoch, made, inbox.clone());
        self.upkeep.spawn(storing);
    }

    /// Something was done.
    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Claimed(late) => (self.upkeep.begun.is_claimed, self.upkeep.late) = (true, late),
            Done::Loaded(part) => self.known.filter.take_in(*part),
            Done::Lost(wanted) => {
                warn!(partition = %self.partition, "a part of the checkpoint is lost; it is made anew from the store");
                self.known.filter.give_up(&wanted);
            }
            Done::Sealed(sealed) => self.known.filter.adopt(*sealed),
            Done::Rebuilt(at) => {
                self.known.filter.rebuilt(at);
                self.upkeep.rebuild = None;
            }
            Done::Stored(made, Ok(())) => {
                self.upkeep.storing = false;
                let names = self.known.filter.confirm(&made);
                let manifest = match self.upkeep.tidied {
                    true => None,
                    false => Manifest::decode(&made.manifest).ok(),
                };
                self.upkeep.tidied = true;
                let (checkpoints, partition) = (self.deps.checkpoints.clone(), self.partition);
                self.upkeep.spawn(checkpoint::tidy(
                    checkpoints,
                    partition,
                    self.epoch,
                    names,
                    manifest,
                ));
            }
            Done::Stored(_, Err(error)) => {
                self.upkeep.storing = false;
                match error {
                    // The log tells as well.
                    CheckpointError::Fenced { epoch, .. } => {
                        debug!(partition = %self.partition, epoch, "a newer owner keeps the checkpoint")
                    }
                    error => {
                        warn!(partition = %self.partition, %error, "what is known of uids is not stored; it will be tried again")
                    }
                }
            }
        }
    }
}
