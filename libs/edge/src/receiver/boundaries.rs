//! Where the session begins in each partition, and from where on what comes live has no holes.
//!
//! Invariants: what comes before the session has begun in its partition is counted and read, never handed out; a boundary
//! is given to the session only when the line is whole and no attach is under way in its partition.

use std::time::Duration;

use model::{PartitionId, Position};
use tokio::time::timeout_at;

use super::state::{Left, Receiver};
use crate::mailbox::{Boundaries, Mail};

impl Receiver {
    /// Whether this comes before the session has begun in its partition; then it is only noted how far things have got. What has
    /// no place in the log is never early.
    pub(super) fn is_early(&mut self, partition: PartitionId, position: Position) -> bool {
        if position == Position::START {
            return false;
        }
        let fresh = self.fresh.iter_mut().find(|f| f.partition == partition);
        fresh.map(|f| f.early = position.max(f.early)).is_some()
    }

    pub(super) fn goes_on_from(&mut self, partition: PartitionId, boundary: Position) {
        if !self.is_early(partition, boundary) && self.session.partitions().any(|p| p == partition) {
            self.hold(partition, boundary);
            self.release_held();
        }
    }

    /// The session begins where its topics were attached, neither before nor after: what came live meanwhile is read.
    pub(super) fn begin_fresh(&mut self, partition: PartitionId, boundaries: &[Boundaries]) {
        let Some(i) = self.fresh.iter().position(|f| f.partition == partition) else {
            return;
        };
        let fresh = self.fresh.swap_remove(i);
        if fresh.begun {
            self.hold(partition, fresh.early);
            return;
        }
        let boundary = boundaries
            .iter()
            .flatten()
            .map(|(_, b)| *b)
            .max()
            .unwrap_or_default();
        self.begin_at(partition, boundary);
        if fresh.early > boundary || self.broken.contains(&partition) {
            self.session.gap(partition);
            self.hold(partition, fresh.early);
        }
    }

    pub(super) fn begin_at(&mut self, partition: PartitionId, boundary: Position) {
        self.session.boundary(partition, boundary, &mut self.out);
        self.begun_anew = true;
        self.read_from_grants(partition, boundary);
        self.hear_of_grants(partition, boundary);
    }

    /// Whether the session has begun in a partition where it did not stand before. To be stored before the client is told that it
    /// receives: after a crash it would begin later.
    pub fn has_begun_anew(&self) -> bool {
        self.begun_anew
    }

    /// Owners that have not answered are not waited for: in their partitions the session begins with what had not been given
    /// out when it was entered, which may be a moment ago.
    pub(super) fn begin_late(&mut self) {
        self.late = true;
        let mut begun = Vec::new();
        for fresh in self.fresh.iter_mut().filter(|f| !f.begun) {
            fresh.begun = true;
            begun.push((fresh.partition, fresh.entered));
        }
        for (partition, entered) in begun {
            self.begin_at(partition, entered);
            self.session.gap(partition);
        }
    }

    /// Waits until what it receives from the beginning is attached, for so long, or until another connection wants the session.
    /// Returns mail that is about something else, for later.
    pub async fn attached_from_the_beginning(&mut self, limit: Duration) -> Vec<Mail> {
        let (mut taken, mut later) = (Vec::new(), Vec::new());
        let deadline = tokio::time::Instant::now() + limit;
        while !self.is_attached() && !later.iter().any(|mail| matches!(mail, Mail::TakenOver(_))) {
            let mailbox = self.mailbox.clone();
            if timeout_at(deadline, mailbox.take(&mut taken)).await.is_err() {
                self.begin_late();
                break;
            }
            later.extend(taken.drain(..).filter_map(|mail| match self.mail(mail) {
                Left::Mail(mail) => Some(mail),
                Left::Nothing | Left::Attached(..) => None,
            }));
        }
        later
    }

    pub(super) fn attached(&mut self, token: u64, boundaries: Vec<Boundaries>) -> Left {
        let initial = self.initial.iter().position(|(t, _)| *t == token);
        let grant = self.grants.iter().position(|(t, _)| *t == token);
        if initial.is_none() && grant.is_none() {
            return Left::Attached(token, boundaries);
        }
        if let Some(i) = initial {
            let (_, partition) = self.initial.swap_remove(i);
            self.begin_fresh(partition, &boundaries);
        }
        if let Some(i) = grant {
            self.grants.swap_remove(i);
        }
        for (partition, boundary) in boundaries.into_iter().flatten() {
            self.hold(partition, boundary);
        }
        self.release_held();
        Left::Nothing
    }

    pub(super) fn hold(&mut self, partition: PartitionId, boundary: Position) {
        match self.held.iter_mut().find(|(p, _)| *p == partition) {
            Some((_, held)) => *held = boundary.max(*held),
            None => self.held.push((partition, boundary)),
        }
    }

    /// Gives the session the boundaries of partitions that are whole and in which no attach is under way any more.
    pub(super) fn release_held(&mut self) {
        for (partition, boundary) in std::mem::take(&mut self.held) {
            let mut attaching = self.initial.iter().chain(&self.grants);
            if self.broken.contains(&partition) || attaching.any(|(_, p)| *p == partition) {
                self.held.push((partition, boundary));
            } else {
                self.session.boundary(partition, boundary, &mut self.out);
            }
        }
    }
}
