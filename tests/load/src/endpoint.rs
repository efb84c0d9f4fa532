//! A connection at work: what it sends, what it receives, and the loop that does both.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::envelope;
use crate::error::Result;
use crate::link::Link;
use crate::mqtt::{Client, Event};
use crate::run::{Run, add};
use crate::stamp::{Side, Stamp};
use crate::stomp::Visitor;
use crate::template::Template;
use crate::track::{Tracker, Verdict};

/// When the next message may go.
#[derive(Debug, Clone)]
pub(crate) enum Pace {
    /// Closed loop: at most so many PUBLISHes without PUBACK.
    Acks { window: u64 },
    /// Closed loop: at most so many messages that have not arrived, `per_message` arrivals each.
    Arrivals {
        window: u64,
        arrived: Rc<Arrivals>,
        per_message: u64,
    },
    /// Open loop: one each `period`, whatever the server does.
    Clock { period: Duration, due: Instant },
}

/// Arrivals that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    count: Cell<u64>,
    changed: Notify,
}

/// A message that leaves later than this after its time is stamped with the time it should have left, so that a
/// stalled server is not excused. Less is the timer's own grain.
const LATE: Duration = Duration::from_millis(2);

/// The most PUBLISHes without PUBACK in open loop: packet ids end at 65,535.
const MOST_UNACKED: usize = 50_000;

/// The sending half of a connection: messages of each lane's topic in turn.
#[derive(Debug)]
pub(crate) struct Sender {
    run: Rc<Run>,
    lanes: Vec<Lane>,
    turn: usize,
    pace: Pace,
    /// How many to send in all; the run's end comes first if it is not reached.
    quota: u64,
    sent: u64,
    unacked: VecDeque<u16>,
    packet_id: u16,
    qos: u8,
}

/// One topic of a sender.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) template: Template,
    /// How many were sent.
    pub(crate) sent: Rc<Cell<u64>>,
}

impl Lane {
    /// A lane that has sent nothing.
    pub(crate) fn new(template: Template) -> Self {
        Self {
            template,
            sent: Rc::default(),
        }
    }
}

impl Sender {
    /// A sender over `lanes`, at least one; `qos` says whether PUBACKs are to come.
    pub(crate) fn new(run: &Rc<Run>, lanes: Vec<Lane>, pace: Pace, quota: u64, qos: u8) -> Self {
        let run = Rc::clone(run);
        Self {
            run,
            lanes,
            turn: 0,
            pace,
            quota,
            sent: 0,
            unacked: VecDeque::new(),
            packet_id: 0,
            qos,
        }
    }

    /// Queues what may go now.
    fn fill(&mut self, link: &mut Link) {
        while !self.run.stopped() && self.sent < self.quota {
            let mut stamp = self.run.now();
            match &mut self.pace {
                Pace::Acks { window } if self.unacked.len() as u64 >= *window => return,
                Pace::Arrivals {
                    window,
                    arrived,
                    per_message,
                } if self.sent >= arrived.count.get() / *per_message + *window => {
                    return;
                }
                Pace::Acks { .. } | Pace::Arrivals { .. } => {}
                Pace::Clock { period, due } => {
                    let late = Instant::now().checked_duration_since(*due);
                    let Some(late) = late.filter(|_| self.unacked.len() < MOST_UNACKED) else {
                        return;
                    };
                    if late > LATE {
                        stamp = stamp.saturating_sub(late.as_nanos() as u64);
                    }
                    *due += *period;
                }
            }
            self.send(link, stamp);
        }
    }

    fn send(&mut self, link: &mut Link, stamp: u64) {
        if self.qos > 0 {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            self.unacked.push_back(self.packet_id);
        }
        let lane = &mut self.lanes[self.turn];
        lane.template.send(link, self.packet_id, lane.sent.get(), stamp);
        add(&lane.sent, 1);
        self.turn = (self.turn + 1) % self.lanes.len();
        add(&self.run.sent, 1);
        self.sent += 1;
    }

    fn acked(&mut self, packet_id: u16) {
        if let Some(at) = self.unacked.iter().position(|&id| id == packet_id) {
            self.unacked.remove(at);
            self.run.ack();
        }
    }

    /// Becomes ready when [`Sender::fill`] may have something to do that no packet announces.
    async fn wake(&self) {
        match &self.pace {
            _ if self.run.stopped() || self.sent == self.quota => std::future::pending().await,
            Pace::Acks { .. } => std::future::pending().await,
            Pace::Clock { .. } if self.unacked.len() >= MOST_UNACKED => std::future::pending().await,
            Pace::Arrivals { arrived, .. } => arrived.changed.notified().await,
            Pace::Clock { due, .. } => sleep_until(*due).await,
        }
    }
}

/// How a payload holds its stamp.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload {
    Opaque,
    Protobuf,
    Json,
}

impl Payload {
    fn stamp(self, bytes: &[u8]) -> Option<Stamp> {
        match self {
            Self::Opaque => Stamp::read(bytes),
            Self::Protobuf => Stamp::read(envelope::protobuf_content(bytes)?),
            Self::Json => Stamp::read(envelope::json_content(bytes)?),
        }
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(crate) struct Inbox {
    run: Rc<Run>,
    payload: Payload,
    /// The side of this connection: its own messages are echoes.
    side: Option<Side>,
    /// What others sent, by lane.
    lanes: RefCell<Vec<Tracker>>,
    echoes: RefCell<Tracker>,
    /// Somebody who waits for arrivals here, and for echoes here.
    arrived: Option<Rc<Arrivals>>,
    echoed: Option<Rc<Arrivals>>,
    /// Chat messages of other kinds: greetings, receipts.
    others: Cell<u64>,
}

impl Inbox {
    /// An inbox for `lanes` topics. With more than one, topics end in the lane's number.
    pub(crate) fn new(run: &Rc<Run>, payload: Payload, side: Option<Side>, lanes: usize) -> Self {
        Self {
            run: Rc::clone(run),
            payload,
            side,
            lanes: RefCell::new((0..lanes).map(|_| Tracker::default()).collect()),
            echoes: RefCell::default(),
            arrived: None,
            echoed: None,
            others: Cell::new(0),
        }
    }

    /// Lets somebody wait for what others sent.
    pub(crate) fn announce(self, arrived: &Rc<Arrivals>) -> Self {
        Self {
            arrived: Some(Rc::clone(arrived)),
            ..self
        }
    }

    /// Lets somebody wait for the echoes.
    pub(crate) fn announce_echoes(self, echoed: &Rc<Arrivals>) -> Self {
        Self {
            echoed: Some(Rc::clone(echoed)),
            ..self
        }
    }

    /// What became of the messages of a lane, of which `sent` were sent.
    pub(crate) fn verdict(&self, lane: usize, sent: u64) -> Verdict {
        self.lanes.borrow()[lane].verdict(sent)
    }

    /// What became of the echoes of `sent` messages.
    pub(crate) fn echo_verdict(&self, sent: u64) -> Verdict {
        self.echoes.borrow().verdict(sent)
    }

    /// Distinct messages of others that came.
    pub(crate) fn received(&self) -> u64 {
        self.lanes
            .borrow()
            .iter()
            .map(|lane| lane.verdict(0).delivered)
            .sum()
    }

    fn see(&self, topic: &[u8], payload: &[u8], now: u64) {
        let Some(stamp) = self.payload.stamp(payload) else {
            return add(&self.others, 1);
        };
        if self.side == Some(stamp.side) {
            if self.echoes.borrow_mut().see(stamp.sequence) {
                self.run.echo(now);
                announce(&self.echoed);
            }
            return;
        }
        let mut lanes = self.lanes.borrow_mut();
        let lane = if lanes.len() == 1 { Some(0) } else { lane_of(topic) };
        let Some(tracker) = lane.and_then(|lane| lanes.get_mut(lane)) else {
            return add(&self.others, 1);
        };
        if tracker.see(stamp.sequence) {
            self.run.deliver(stamp.sent, now);
            announce(&self.arrived);
        }
    }
}

fn announce(waiting: &Option<Rc<Arrivals>>) {
    if let Some(arrivals) = waiting {
        add(&arrivals.count, 1);
        arrivals.changed.notify_one();
    }
}

/// The number at the end of a topic.
fn lane_of(topic: &[u8]) -> Option<usize> {
    let digits = topic.rsplit(|&byte| byte == b'/').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Serves an MQTT connection until `done` says so: sends what `sender` may, receives into `inbox`.
pub(crate) async fn serve(
    client: &mut Client,
    mut sender: Option<Sender>,
    inbox: &Inbox,
    done: impl Fn() -> bool,
) -> Result<()> {
    while !done() {
        if let Some(sender) = &mut sender {
            sender.fill(&mut client.link);
        }
        match &sender {
            Some(sender) => client.turn(sender.wake()).await?,
            None => client.turn(std::future::pending()).await?,
        }
        let now = inbox.run.now();
        client.drain(|event| match event {
            Event::Message { topic, payload } => inbox.see(topic, payload, now),
            Event::Acked(packet_id) => {
                if let Some(sender) = &mut sender {
                    sender.acked(packet_id);
                }
            }
        })?;
    }
    Ok(())
}

/// Serves a visitor's STOMP connection for ever.
pub(crate) async fn serve_visitor(visitor: &mut Visitor, mut sender: Sender, inbox: &Inbox) -> Result<()> {
    loop {
        sender.fill(visitor.link());
        visitor.turn(sender.wake()).await?;
        let now = inbox.run.now();
        visitor.drain(|body| inbox.see(b"", body, now))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp;

    fn message(side: Side, sequence: u64) -> Vec<u8> {
        let mut content = stamp::content(side, 60);
        Stamp {
            side,
            sequence,
            sent: 1,
        }
        .write(&mut content);
        content
    }

    #[test]
    fn an_inbox_tells_echoes_from_messages_and_both_from_the_rest() {
        let run = Run::start();
        let inbox = Inbox::new(&run, Payload::Opaque, Some(b'a'), 1);
        inbox.see(b"t", &message(b'a', 0), 5);
        inbox.see(b"t", &message(b'v', 0), 5);
        inbox.see(b"t", &message(b'v', 0), 5);
        inbox.see(b"t", b"welcome", 5);
        assert_eq!(
            (run.echoed.get(), run.delivered.get(), inbox.others.get()),
            (1, 1, 1)
        );
        assert_eq!(
            inbox.verdict(0, 2),
            Verdict {
                delivered: 1,
                lost: 1,
                duplicates: 1,
                reordered: 0
            }
        );
        assert_eq!(inbox.echo_verdict(1).lost, 0);
    }

    #[test]
    fn lanes_are_told_apart_by_the_end_of_their_topic() {
        let run = Run::start();
        let inbox = Inbox::new(&run, Payload::Opaque, None, 3);
        inbox.see(b"load/x/00002", &message(b'p', 0), 5);
        inbox.see(b"load/x/00009", &message(b'p', 0), 5);
        assert_eq!(inbox.verdict(2, 1).delivered, 1);
        assert_eq!((inbox.received(), inbox.others.get()), (1, 1));
    }
}
