//! The receiving half of a connection, the same for every protocol: what it receives, the session machine, the backlog it
//! reads, the progress it reports. The protocol's edge writes what comes out and says what was acknowledged.
//!
//! ```text
//!  attaching ─► boundaries: where it begins          mail ─► matching ─► session ─► outputs ─► the protocol's edge
//!  membership: what it may see changes                         ▲ backlog, retained            acks ◄─┘
//! ```

mod acks;
mod asked;
mod attaching;
mod backlog;
mod boundaries;
mod entitlement;
mod item;
mod known;
mod matching;
mod membership;
mod resumed;
mod retained;
mod state;

pub use asked::{Asked, asked_for_threads};
pub use item::Item;
pub use resumed::resumed;
pub use state::{Left, Receiver};

use bytes::Bytes;
use model::{PartitionId, Position, UnixMillis};
use session::{Ack, Holder, Output};
use wire::Kind;

use crate::mailbox::Mail;

impl Receiver {
    /// Deals with mail about receiving; gives back what is not.
    pub fn mail(&mut self, mail: Mail) -> Left {
        match mail {
            Mail::Live(delivery) if self.is_early(delivery.partition, delivery.position) => Left::Nothing,
            Mail::Live(delivery) => {
                if let Some(item) = self.item(delivery) {
                    self.session.live(item, &mut self.out);
                }
                Left::Nothing
            }
            Mail::Gap(partition) => {
                if !self.broken.contains(&partition) {
                    self.broken.push(partition);
                }
                self.session.gap(partition);
                Left::Nothing
            }
            Mail::Boundary(partition, boundary) => {
                self.broken.retain(|p| *p != partition);
                self.goes_on_from(partition, boundary);
                Left::Nothing
            }
            Mail::Skipped(partition, upto) => {
                self.session.gap(partition);
                self.goes_on_from(partition, upto);
                Left::Nothing
            }
            Mail::Attached { token, boundaries } => self.attached(token, boundaries),
            other => Left::Mail(other),
        }
    }

    /// What to write now. Fetches and grants are dealt with here and do not come out.
    pub fn outputs(&mut self, write: &mut Vec<Output<Item>>) {
        self.hand_out_retained();
        while !self.out.is_empty() {
            for output in std::mem::take(&mut self.out) {
                match output {
                    Output::Fetch(fetch) => self.reading = Some(self.read(fetch)),
                    Output::Send { item, .. } if self.is_for_itself(&item) => {
                        self.membership(&item.delivery);
                    }
                    Output::Send {
                        item, packet_id, qos, ..
                    } if !self.is_still_visible(&item) => {
                        // What may not be shown any more is passed over as if it had been acknowledged.
                        let _passed = match packet_id {
                            Some(id) if qos == 2 => self.session.rec(id, false, &mut self.out),
                            Some(id) => self.session.ack(id, &mut self.out),
                            None => Ack::Unknown,
                        };
                    }
                    output => {
                        if let Output::Send { item, .. } = &output
                            && item.delivery.entry.change.is_some()
                        {
                            self.membership(&item.delivery);
                        }
                        write.push(output);
                    }
                }
            }
        }
    }

    /// Whether it says what the connection may see, and nothing to its client.
    fn is_for_itself(&self, item: &Item) -> bool {
        item.delivery.entry.known_kind() == Kind::Membership || self.only_hears(&item.delivery)
    }

    fn is_still_visible(&self, item: &Item) -> bool {
        let now = if item.delivery.entry.expires_at == 0 {
            UnixMillis(0)
        } else {
            self.core.now()
        };
        let (topic, at) = (&item.delivery.entry.topic, item.delivery.position);
        !item.delivery.is_expired(now) && self.sees(topic, at)
    }

    /// Whether the connection takes no more for now.
    pub fn throttle(&mut self, on: bool) {
        self.session.throttle(on, &mut self.out);
    }

    /// Hands out nothing more: the connection is ending. What was handed out counts as sent, though it may never have
    /// been written; mail may still be given, so that the cursors can follow.
    pub fn stop(&mut self) {
        self.session.throttle(true, &mut self.out);
        self.outputs(&mut Vec::new());
    }

    /// Lets the cursors of quiet partitions follow what was given out. All mail must have been taken since the positions
    /// were read: pass the result of [`Self::given_out`] from before the mailbox was emptied.
    pub fn upto(&mut self, given_out: &[(PartitionId, Position)]) {
        given_out.iter().for_each(|(p, at)| self.session.upto(*p, *at));
    }

    /// See [`Self::upto`].
    pub fn given_out(&self) -> Vec<(PartitionId, Position)> {
        self.session
            .partitions()
            .map(|p| (p, self.core.attachments.given_out(p)))
            .collect()
    }

    /// The state to store.
    pub fn state(&mut self) -> Bytes {
        self.state_without(&[])
    }

    /// The same without these inbound QoS 2 packet ids: of what they brought it is not known that it is stored. Whoever goes on from
    /// this must take it when it comes again, not acknowledge it as something that is there.
    pub fn state_without(&mut self, unsettled: &[u16]) -> Bytes {
        self.leave_ended();
        let mut saved = self.session.save();
        saved.received.retain(|id| !unsettled.contains(id));
        saved.elsewhere.clone_from(&self.elsewhere);
        saved.elsewhere.retain(|(p, _)| self.session.cursor(*p).is_none());
        saved.memberships = self.entitled.then(|| self.known.save());
        saved.holder = Some(Holder::of(&self.who));
        saved.aside.clone_from(&self.aside);
        saved.encode().into()
    }
}
