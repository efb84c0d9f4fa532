//! What waits for the owner of a partition: what edges say, and what the store has answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use backplane::checkpoint::CheckpointError;
use contract::persistence::Found;
use contract::routing::{Downstream, Hello, Routing, Up, Upstream};
use contract::{ErrorKind, RpcError};
use dedupe::{Checkpoint, Manifest, Part, Sealed, Wanted};
use model::{PartitionId, Partitioning};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::consume_budget;

/// Names a line within this process.
pub(crate) type LineId = u64;

/// One thing for an owner to deal with.
pub(crate) enum Item {
    /// An edge opens a line.
    Open(LineId, Hello, Arc<dyn Downstream>),
    /// An edge says something on its line.
    Up(LineId, Up),
    /// A line has ended at the edge.
    Close(LineId),
    /// The store has answered, or has not in time.
    Answered(Answered),
    /// Something was done about what is known of uids.
    Done(Done),
}

/// What the store said, by key; of those it did not answer there is nothing in `found`.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub asked: Vec<u128>,
    pub found: Vec<(u128, Option<Found>)>,
}

/// What was done beside the owner.
pub(crate) enum Done {
    /// The checkpoint could not be claimed at the take-over, and is now; with what it is, if it is of any use.
    Claimed(Option<Box<Late>>),
    /// A blob of the checkpoint was read.
    Loaded(Box<Part>),
    /// It cannot be had.
    Lost(Wanted),
    /// A generation has its filter.
    Sealed(Box<Sealed>),
    /// Everything up to this time was made anew from the store.
    Rebuilt(u64),
    /// A checkpoint is stored, or is not.
    Stored(Box<Checkpoint>, Result<(), CheckpointError>),
}

/// A checkpoint that an owner has got when it served already.
pub(crate) struct Late {
    pub manifest: Manifest,
    /// What was accepted after it and before what the owner has read of the log itself.
    pub between: Vec<u128>,
    /// The log does not have all of that any more.
    pub is_trimmed: bool,
}

#[derive(Default)]
struct Queue {
    items: Vec<Item>,
    closed: bool,
}

/// The inbox of one owner, from its taking over to its end. What edges submit is bounded by their credit; what they
/// attach, by what their connections want.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Inbox {
    /// Puts something in and wakes the owner; false when there is none any more.
    pub fn push(&self, item: Item) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        queue.items.push(item);
        let first = queue.items.len() == 1;
        drop(queue);
        // An owner takes everything that is there: for what comes behind the first it is awake already.
        if first {
            self.filled.notify_one();
        }
        true
    }

    /// Everything that has come, in order; waits when there is nothing. Cancel safe.
    pub async fn take(&self) -> Vec<Item> {
        // An owner for whom there is always more would never let its task look at anything else, such as its lease.
        consume_budget().await;
        loop {
            let items = self.try_take();
            if !items.is_empty() {
                return items;
            }
            self.filled.notified().await;
        }
    }

    /// Everything that is there now.
    pub fn try_take(&self) -> Vec<Item> {
        std::mem::take(&mut self.queue.lock().items)
    }

    /// The owner ends: nothing is taken in any more. Edges whose line was still to be opened are told.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let left = std::mem::take(&mut queue.items);
        drop(queue);
        for item in left {
            if let Item::Open(_, _, edge) = item {
                edge.ended();
            }
        }
    }
}

/// An owner as edges find it.
#[derive(Clone)]
struct Entered {
    /// Under which it owns its partition.
    epoch: u64,
    inbox: Arc<Inbox>,
}

/// The owners of this process, by partition: the routing service as edges in the same process use it. Made before the service, since
/// others may need it that the service needs.
pub struct Owners {
    owners: Vec<Mutex<Option<Entered>>>,
    next_line: AtomicU64,
}

impl Owners {
    /// None yet.
    pub fn new(partitioning: Partitioning) -> Arc<Self> {
        Arc::new(Self {
            owners: partitioning.all().map(|_| Mutex::default()).collect(),
            next_line: AtomicU64::new(1),
        })
    }

    /// From now on edges find this owner.
    pub(crate) fn enter(&self, partition: PartitionId, epoch: u64, inbox: &Arc<Inbox>) {
        if let Some(slot) = self.owners.get(usize::from(partition.0)) {
            let inbox = inbox.clone();
            *slot.lock() = Some(Entered { epoch, inbox });
        }
    }

    /// They find it no more.
    pub(crate) fn leave(&self, partition: PartitionId, inbox: &Arc<Inbox>) {
        if let Some(slot) = self.owners.get(usize::from(partition.0)) {
            slot.lock().take_if(|there| Arc::ptr_eq(&there.inbox, inbox));
        }
    }
}

#[async_trait]
impl Routing for Owners {
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        let partition = hello.partition;
        let slot = self.owners.get(usize::from(partition.0));
        let owner = slot.and_then(|slot| slot.lock().clone());
        let no = |why: String| Err(RpcError::new(ErrorKind::Unavailable, why));
        let line = self.next_line.fetch_add(1, Ordering::Relaxed);
        match owner {
            // It does not know yet, or cannot: the edge has heard of its successor, who is in the log by then.
            Some(Entered { epoch, .. }) if epoch < hello.epoch => no(format!(
                "the owner of partition {partition} here is of epoch {epoch}, and there is one of {}",
                hello.epoch
            )),
            Some(Entered { inbox, .. }) if inbox.push(Item::Open(line, hello, edge)) => {
                Ok(Box::new(Handle { inbox, line }))
            }
            _ => no(format!("partition {partition} has no owner here")),
        }
    }
}

/// An edge's end of a line to an owner in this process.
struct Handle {
    inbox: Arc<Inbox>,
    line: LineId,
}

impl Upstream for Handle {
    fn send(&self, up: Up) -> bool {
        self.inbox.push(Item::Up(self.line, up))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.push(Item::Close(self.line));
    }
}
