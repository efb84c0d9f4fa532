//! What waits for the window, or for a page.

use std::collections::VecDeque;

use model::Position;

use crate::lane::LaneId;
use crate::{Item, Limits};

#[derive(Debug)]
pub(crate) struct Queued<E> {
    pub lane: LaneId,
    pub item: E,
}

/// `ready` goes out in order when the window allows; its first `resends` items come again. `held` came live for lanes
/// that are being read.
#[derive(Debug)]
pub(crate) struct Buffer<E> {
    ready: VecDeque<Queued<E>>,
    held: Vec<Queued<E>>,
    bytes: usize,
    resends: u32,
}

impl<E: Item> Buffer<E> {
    pub fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            held: Vec::new(),
            bytes: 0,
            resends: 0,
        }
    }

    pub fn has_room(&self, limits: &Limits) -> bool {
        self.len() < limits.buffer_items as usize && self.bytes < limits.buffer_bytes as usize
    }

    /// Items, ready and held.
    pub fn len(&self) -> usize {
        self.ready.len() + self.held.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    pub fn is_ready_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// The next to go out, and whether it comes again.
    pub fn front(&self) -> Option<(&Queued<E>, bool)> {
        self.ready.front().map(|q| (q, self.resends > 0))
    }

    pub fn pop(&mut self) -> Option<Queued<E>> {
        let queued = self.ready.pop_front()?;
        self.bytes -= queued.item.cost();
        self.resends = self.resends.saturating_sub(1);
        Some(queued)
    }

    pub fn push(&mut self, lane: LaneId, item: E) {
        self.bytes += item.cost();
        self.ready.push_back(Queued { lane, item });
    }

    /// Puts what comes again before everything new.
    pub fn push_resend(&mut self, lane: LaneId, item: E) {
        self.bytes += item.cost();
        self.ready.insert(self.resends as usize, Queued { lane, item });
        self.resends += 1;
    }

    pub fn hold(&mut self, lane: LaneId, item: E) {
        self.bytes += item.cost();
        self.held.push(Queued { lane, item });
    }

    /// Forgets what is held for a lane.
    pub fn drop_held(&mut self, lane: LaneId) {
        let mut freed = 0;
        self.held.retain(|q| {
            let keep = q.lane != lane;
            freed += if keep { 0 } else { q.item.cost() };
            keep
        });
        self.bytes -= freed;
    }

    /// Forgets what is ready for a lane and new.
    pub fn drop_new(&mut self, lane: LaneId) {
        let (mut index, mut freed, resends) = (0, 0, self.resends);
        self.ready.retain(|q| {
            let keep = index < resends || q.lane != lane;
            index += 1;
            freed += if keep { 0 } else { q.item.cost() };
            keep
        });
        self.bytes -= freed;
    }

    /// Makes ready what is held for a lane. Says how many, and the last position.
    pub fn release_held(&mut self, lane: LaneId) -> (u32, Option<Position>) {
        let (mut count, mut last) = (0, None);
        for queued in std::mem::take(&mut self.held) {
            if queued.lane == lane {
                last = Some(queued.item.position());
                count += 1;
                self.ready.push_back(queued);
            } else {
                self.held.push(queued);
            }
        }
        (count, last)
    }

    pub fn clear(&mut self) {
        *self = Self::new();
    }

    pub fn shrink(&mut self) {
        self.ready.shrink_to_fit();
        self.held.shrink_to_fit();
    }
}
