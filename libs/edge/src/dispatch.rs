//! Gives out what the owners of partitions say to this edge. In one process an owner calls this itself: nobody else is woken
//! on the way to the connections.

use std::sync::Arc;

use contract::routing::{Downstream, Routed};
use model::{OrgId, PartitionId, Position, TopicFilter, TopicName};
use parking_lot::Mutex;
use wire::ThreadChange;

use crate::access::Gate;
use crate::attach::{Attachments, Subscriber};
use crate::delivery::Delivery;
use crate::line::{Line, Listener};
use crate::mailbox::{Mail, Mailbox};
use crate::metrics::Metrics;

/// What giving out needs for itself.
#[derive(Default)]
struct Desk {
    /// Names each entry that is given out.
    mark: u64,
    /// The mailboxes that something was put into.
    touched: Vec<Arc<Mailbox>>,
}

/// Sorts frames into mailboxes.
pub(crate) struct Dispatcher {
    attachments: Arc<Attachments>,
    /// Is told of changes of threads as they pass.
    gate: Arc<Gate>,
    metrics: Metrics,
    /// One frame at a time, whichever partition it is of: the marks of mailboxes rely on it.
    desk: Mutex<Desk>,
    myself: std::sync::Weak<Dispatcher>,
}

impl Dispatcher {
    pub fn new(attachments: Arc<Attachments>, gate: Arc<Gate>, metrics: Metrics) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            attachments,
            gate,
            metrics,
            desk: Mutex::default(),
            myself: myself.clone(),
        })
    }

    /// False when what was said on this line of the partition counts no more.
    fn frame(&self, line: &Line, number: u64, mut routed: Routed) -> bool {
        let mut desk = self.desk.lock();
        // Under the lock: what an earlier line still brings cannot come between what the next one brings.
        if !line.heeds(number, routed.epoch) {
            return false;
        }
        let desk = &mut *desk;
        let welcome = routed.welcome;
        if let Some(welcome) = welcome.filter(|w| !w.whole) {
            self.skip_to(line.partition, welcome.boundary);
        }
        line.answered(&mut routed, &mut desk.touched);
        self.give_out(line.partition, &routed, desk);
        // Whoever waits for the line to be whole finds everything up to there given out.
        if let Some(welcome) = welcome {
            line.welcomed(welcome.boundary);
        }
        let touched = &mut desk.touched;
        if touched.len() > 1 {
            touched.sort_unstable_by_key(|m| (m.number(), Arc::as_ptr(m) as usize));
            touched.dedup_by(|a, b| Arc::ptr_eq(a, b));
        }
        touched.drain(..).for_each(|mailbox| mailbox.wake());
        true
    }

    /// What is before the boundary was lost for this edge, as far as it had not been given: sessions read it from the store.
    fn skip_to(&self, partition: PartitionId, boundary: Position) {
        self.metrics.gaps.inc();
        // First the gap: a connection that reads how far things were given out, and then takes its mail, has it among that.
        self.attachments.tell_all(|| Mail::Gap(partition));
        self.attachments.reading().set_routed(partition, boundary);
        self.attachments.tell_all(|| Mail::Boundary(partition, boundary));
    }

    fn give_out(&self, partition: PartitionId, routed: &Routed, desk: &mut Desk) {
        self.metrics.received.inc_by(routed.entries.len() as u64);
        let table = self.attachments.reading();
        let mut given = 0u64;
        for one in &routed.entries {
            if let Some(change) = one.entry.change.as_ref().and_then(ThreadChange::to_change) {
                let (org, topic) = (OrgId::new(&one.entry.org), TopicName::trusted(&one.entry.topic));
                self.gate.changed(&org, &topic, one.position, &change);
            }
            let Some(filters) = table.orgs.get(one.entry.org.as_str()) else {
                continue;
            };
            let delivery = Arc::new(Delivery::new(
                partition,
                one.position,
                one.prev,
                one.entry.clone(),
            ));
            desk.mark += 1;
            filters.for_each(&delivery.entry.topic, |Subscriber(mailbox)| {
                if mailbox.mark(desk.mark) {
                    mailbox.push_live(&delivery);
                    desk.touched.push(mailbox.clone());
                    given += 1;
                }
            });
        }
        table.set_routed(partition, routed.upto);
        drop(table);
        self.metrics.dispatched.inc_by(given);
    }
}

impl Listener for Dispatcher {
    fn filters(&self, partition: PartitionId) -> Vec<(OrgId, TopicFilter)> {
        self.attachments.wanted(partition)
    }

    fn end_of(&self, partition: PartitionId, line: u64) -> Arc<dyn Downstream> {
        Arc::new(End {
            dispatcher: self.myself.clone(),
            partition,
            line,
        })
    }
}

/// The edge's end of one line.
struct End {
    dispatcher: std::sync::Weak<Dispatcher>,
    partition: PartitionId,
    line: u64,
}

impl Downstream for End {
    fn routed(&self, routed: Routed) -> bool {
        let Some(dispatcher) = self.dispatcher.upgrade() else {
            return false;
        };
        let Some(line) = dispatcher.attachments.line(self.partition) else {
            return false;
        };
        dispatcher.frame(line, self.line, routed)
    }

    fn ended(&self) {
        if let Some(dispatcher) = self.dispatcher.upgrade()
            && let Some(line) = dispatcher.attachments.line(self.partition)
        {
            line.ended(self.line);
        }
    }
}
