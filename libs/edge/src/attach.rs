//! What the connections of this edge want, and what the edge as a whole has attached for them. Its lines to the owners of
//! partitions are here, since what is attached and what is submitted goes the same way, in one order.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Concerned, FilterMap, OrgId, PartitionId, Partitioning, Position, TopicFilter};
use parking_lot::{RwLock, RwLockReadGuard};
use prometheus_client::metrics::gauge::Gauge;
use smallvec::SmallVec;
use tokio_util::task::AbortOnDropHandle;
use wire::Entry;

use crate::line::{Known, Line};
use crate::mailbox::{Boundaries, Mail, Mailbox};

struct Lane {
    partition: PartitionId,
    /// The owner has the filter.
    ready: Arc<Known>,
    /// The line to the owner is not broken.
    whole: Arc<Known>,
    routed: Position,
}

type Lanes = SmallVec<[Lane; 1]>;

/// An attach under way.
pub struct Attaching {
    lanes: Vec<Lanes>,
}

impl Attaching {
    /// The same, taken apart by partition; with up to where each had been given out when the connection was entered: what came
    /// after and is live is in its mailbox.
    pub(crate) fn by_partition(self) -> Vec<(PartitionId, Position, Attaching)> {
        let mut parts: BTreeMap<PartitionId, (Position, Vec<Lanes>)> = BTreeMap::new();
        for lane in self.lanes.into_iter().flatten() {
            let (entered, lanes) = parts.entry(lane.partition).or_default();
            *entered = lane.routed.max(*entered);
            lanes.push(SmallVec::from_iter([lane]));
        }
        let part = |(partition, (entered, lanes))| (partition, entered, Attaching { lanes });
        parts.into_iter().map(part).collect()
    }

    /// Tells a connection, under its own name for this attach, when the owners of the partitions have answered. It is told nothing
    /// more once the handle is dropped: an owner that never answers keeps nothing of a connection that is gone.
    pub fn tell(self, mailbox: &Arc<Mailbox>, token: u64) -> AbortOnDropHandle<()> {
        let mailbox = mailbox.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let boundaries = self.boundaries().await;
            mailbox.push(Mail::Attached { token, boundaries });
        }))
    }

    /// For each filter, from where on exactly it comes live. Waits for the owners of the partitions.
    async fn boundaries(self) -> Vec<Boundaries> {
        let mut boundaries = Vec::with_capacity(self.lanes.len());
        for lanes in self.lanes {
            let mut of_filter = Boundaries::new();
            for lane in lanes {
                let ready = lane.ready.wait().await;
                let whole = lane.whole.wait().await;
                of_filter.push((lane.partition, lane.routed.max(ready).max(whole)));
            }
            boundaries.push(of_filter);
        }
        boundaries
    }
}

/// A mailbox in the table; equal if it is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Subscriber(pub Arc<Mailbox>);

impl PartialEq for Subscriber {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Subscriber {}

impl Hash for Subscriber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// A filter that some connection wants.
struct Wanted {
    connections: usize,
    ready: SmallVec<[(PartitionId, Arc<Known>); 1]>,
}

#[derive(Default)]
pub(crate) struct Table {
    pub orgs: HashMap<OrgId, FilterMap<Subscriber>>,
    wanted: HashMap<(OrgId, TopicFilter), Wanted>,
    /// By their numbers, so that they are told in the order in which they came.
    mailboxes: BTreeMap<u64, Arc<Mailbox>>,
    last_mailbox: u64,
    /// Per partition: everything routed up to here has been given to the mailboxes. Written under the read lock that the
    /// giving out holds, read under the write lock that entering holds: a connection is entered either before an entry
    /// is given out, or after it is counted here.
    routed: Vec<AtomicU64>,
}

impl Table {
    /// For the dispatcher, while it holds the table: everything up to here has been given out.
    pub fn set_routed(&self, partition: PartitionId, upto: Position) {
        if let Some(routed) = self.routed.get(usize::from(partition.0)) {
            routed.fetch_max(upto.0, Ordering::Relaxed);
        }
    }

    fn routed(&self, partition: PartitionId) -> Position {
        Position(
            self.routed
                .get(usize::from(partition.0))
                .map_or(0, |r| r.load(Ordering::Relaxed)),
        )
    }
}

/// The table of an edge, and its lines to the owners of partitions.
pub struct Attachments {
    partitioning: Partitioning,
    table: RwLock<Table>,
    lines: Vec<Line>,
}

impl Attachments {
    /// The line that an entry goes up.
    pub fn line_of(&self, entry: &Entry) -> &Line {
        let partition = entry.partition(self.partitioning);
        self.line(partition)
            .expect("there is a line for each partition that there is")
    }

    pub(crate) fn new(partitioning: Partitioning, config: &crate::Config, waiting: &Gauge) -> Self {
        let table = Table {
            routed: partitioning.all().map(|_| AtomicU64::new(0)).collect(),
            ..Table::default()
        };
        let lines = partitioning.all().map(|p| Line::new(p, config, waiting.clone()));
        Self {
            partitioning,
            table: RwLock::new(table),
            lines: lines.collect(),
        }
    }

    /// The line to the owner of a partition; `None` if there is no such partition.
    pub fn line(&self, partition: PartitionId) -> Option<&Line> {
        self.lines.get(usize::from(partition.0))
    }

    /// Every line.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Enters a connection: from now on it is told of gaps.
    pub fn join(&self, mailbox: &Arc<Mailbox>) {
        let mut table = self.table.write();
        table.last_mailbox += 1;
        let number = table.last_mailbox;
        mailbox.number.store(number, Ordering::Relaxed);
        table.mailboxes.insert(number, mailbox.clone());
    }

    /// Strikes a connection out, with the filters it had.
    pub fn leave<'f>(
        &self,
        mailbox: &Arc<Mailbox>,
        org: &OrgId,
        filters: impl IntoIterator<Item = &'f TopicFilter>,
    ) {
        self.detach(mailbox, org, filters);
        let number = mailbox.number.load(Ordering::Relaxed);
        self.table.write().mailboxes.remove(&number);
    }

    /// Gives a connection every entry that matches, from now on: entries may arrive in its mailbox before this returns.
    /// Returns what to wait for: the owners of the partitions may have to be asked first.
    pub fn attach(&self, mailbox: &Arc<Mailbox>, org: &OrgId, filters: &[TopicFilter]) -> Attaching {
        let mut table = self.table.write();
        let lanes = filters
            .iter()
            .map(|filter| self.register(&mut table, mailbox, org, filter))
            .collect();
        Attaching { lanes }
    }

    fn register(
        &self,
        table: &mut Table,
        mailbox: &Arc<Mailbox>,
        org: &OrgId,
        filter: &TopicFilter,
    ) -> Lanes {
        let new = table
            .orgs
            .entry(org.clone())
            .or_default()
            .insert(filter, Subscriber(mailbox.clone()));
        let key = (org.clone(), filter.clone());
        let wanted = table.wanted.entry(key).or_insert_with(|| Wanted {
            connections: 0,
            ready: self
                .partitions(org, filter)
                .into_iter()
                .map(|p| (p, self.request(p, org, filter)))
                .collect(),
        });
        wanted.connections += usize::from(new);
        let ready: SmallVec<[(PartitionId, Arc<Known>); 1]> = wanted.ready.clone();
        let lane = |(partition, ready)| {
            Some(Lane {
                partition,
                ready,
                whole: self.line(partition)?.whole(),
                routed: table.routed(partition),
            })
        };
        ready.into_iter().filter_map(lane).collect()
    }

    fn request(&self, partition: PartitionId, org: &OrgId, filter: &TopicFilter) -> Arc<Known> {
        let ready = Arc::new(Known::default());
        if let Some(line) = self.line(partition) {
            line.attach(org.clone(), filter.clone(), ready.clone());
        }
        ready
    }

    /// Takes filters from a connection.
    pub fn detach<'f>(
        &self,
        mailbox: &Arc<Mailbox>,
        org: &OrgId,
        filters: impl IntoIterator<Item = &'f TopicFilter>,
    ) {
        let mut table = self.table.write();
        let table = &mut *table;
        let subscriber = Subscriber(mailbox.clone());
        for filter in filters {
            let Some(of_org) = table.orgs.get_mut(org) else {
                return;
            };
            if !of_org.remove(filter, &subscriber) {
                continue;
            }
            if of_org.is_empty() {
                table.orgs.remove(org);
            }
            let key = (org.clone(), filter.clone());
            if let Some(wanted) = table.wanted.get_mut(&key) {
                wanted.connections -= 1;
                if wanted.connections == 0 {
                    table.wanted.remove(&key);
                    for p in self.partitions(org, filter) {
                        if let Some(line) = self.line(p) {
                            line.detach(org.clone(), filter.clone());
                        }
                    }
                }
            }
        }
    }

    /// The owners that have to know of a filter: that of its home, or all of them where it may match topics of several.
    fn partitions(&self, org: &OrgId, filter: &TopicFilter) -> Concerned {
        self.partitioning.of_filter(org, filter)
    }

    /// For the dispatcher: the table stands still while a frame is given out.
    pub(crate) fn reading(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read()
    }

    /// Up to where a partition has been given out. A connection that reads this and then takes all its mail has got
    /// everything of its topics up to there.
    pub fn given_out(&self, partition: PartitionId) -> Position {
        self.table.read().routed(partition)
    }

    /// Tells every connection.
    pub(crate) fn tell_all(&self, mail: impl Fn() -> Mail) {
        let mailboxes: Vec<Arc<Mailbox>> = self.table.read().mailboxes.values().cloned().collect();
        mailboxes.iter().for_each(|mailbox| mailbox.push(mail()));
    }

    /// Every filter wanted from a partition.
    pub(crate) fn wanted(&self, partition: PartitionId) -> Vec<(OrgId, TopicFilter)> {
        let table = self.table.read();
        let of_partition = |(_, wanted): &(_, &Wanted)| wanted.ready.iter().any(|(p, _)| *p == partition);
        table
            .wanted
            .iter()
            .filter(of_partition)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Nothing was attached before this: a connection that comes from now on begins here at the earliest.
    pub(crate) fn begin(&self, partition: PartitionId, head: Position) {
        self.table.read().set_routed(partition, head);
        if let Some(line) = self.line(partition) {
            line.hear(head);
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.table.read().mailboxes.len()
    }
}
