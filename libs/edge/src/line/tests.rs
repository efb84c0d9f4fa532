#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use async_trait::async_trait;
use contract::routing::{Downstream, Hello, Routing, Welcome};
use contract::{ErrorKind, RpcError};
use model::{EdgeId, FrameSeq};

use super::*;
use crate::mailbox::Mail;

const P: PartitionId = PartitionId(0);

/// How a line began, the edge's end, what came.
type Opened = (Hello, Arc<dyn Downstream>, Arc<Mutex<Vec<Up>>>);

/// An owner that does what the test says.
#[derive(Default)]
struct Owner {
    lines: Mutex<Vec<Opened>>,
    away: Mutex<bool>,
    /// It takes a line up and says nothing, as one that is cut off from the log.
    mute: Mutex<bool>,
    /// It ends each line as soon as it is open.
    ends: Mutex<bool>,
}

struct Way(Arc<Mutex<Vec<Up>>>);

impl Upstream for Way {
    fn send(&self, up: Up) -> bool {
        self.0.lock().push(up);
        true
    }
}

#[async_trait]
impl Routing for Owner {
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        if *self.away.lock() {
            return Err(RpcError::new(ErrorKind::Unavailable, "away"));
        }
        if *self.mute.lock() {
            std::future::pending::<()>().await;
        }
        let said = Arc::<Mutex<Vec<Up>>>::default();
        self.lines.lock().push((hello, edge.clone(), said.clone()));
        if *self.ends.lock() {
            tokio::spawn(async move { edge.ended() });
        }
        Ok(Box::new(Way(said)))
    }
}

impl Owner {
    fn count(&self) -> usize {
        self.lines.lock().len()
    }

    /// The numbers of what came on a line, and whether each was sent before.
    fn numbers(&self, line: usize) -> Vec<(u64, bool)> {
        let lines = self.lines.lock();
        let said = lines[line].2.lock();
        let number = |up: &Up| match up {
            Up::Submit(s) => Some((s.number, s.again)),
            Up::Attach { number, .. } => Some((*number, false)),
            _ => None,
        };
        said.iter().filter_map(number).collect()
    }

    fn first(&self, line: usize) -> u64 {
        self.lines.lock()[line].0.first
    }

    fn say(&self, line: usize, routed: Routed) -> bool {
        let edge = self.lines.lock()[line].1.clone();
        edge.routed(routed)
    }

    fn welcome(&self, line: usize, epoch: u64) -> bool {
        let welcome = Some(Welcome {
            boundary: Position::START,
            whole: true,
        });
        let routed = answers(epoch, Vec::new());
        self.say(line, Routed { welcome, ..routed })
    }

    fn end(&self, line: usize) {
        let edge = self.lines.lock()[line].1.clone();
        edge.ended();
    }
}

/// The edge around the line.
struct Around {
    line: Arc<Line>,
    gaps: AtomicUsize,
}

struct End(Arc<Around>, u64);

impl Downstream for End {
    fn routed(&self, mut routed: Routed) -> bool {
        let Self(around, line) = self;
        if !around.line.heeds(*line, routed.epoch) {
            return false;
        }
        if let Some(welcome) = routed.welcome {
            around
                .gaps
                .fetch_add(usize::from(!welcome.whole), Ordering::Relaxed);
            around.line.welcomed(welcome.boundary);
        }
        let mut touched = Vec::new();
        around.line.answered(&mut routed, &mut touched);
        touched.into_iter().for_each(|mailbox| mailbox.wake());
        true
    }

    fn ended(&self) {
        self.0.line.ended(self.1);
    }
}

struct Edge(Arc<Around>);

impl Listener for Around {
    fn filters(&self, _: PartitionId) -> Vec<(OrgId, TopicFilter)> {
        Vec::new()
    }
    fn end_of(&self, _: PartitionId, _: u64) -> Arc<dyn Downstream> {
        unreachable!("the edge gives out the ends")
    }
}

impl Listener for Edge {
    fn filters(&self, _: PartitionId) -> Vec<(OrgId, TopicFilter)> {
        Vec::new()
    }
    fn end_of(&self, _: PartitionId, line: u64) -> Arc<dyn Downstream> {
        Arc::new(End(self.0.clone(), line))
    }
}

fn start(change: impl FnOnce(&mut crate::Config)) -> (Arc<Owner>, Arc<Around>) {
    let mut config = crate::Config::default();
    change(&mut config);
    let around = Arc::new(Around {
        line: Arc::new(Line::new(P, &config, Gauge::default())),
        gaps: AtomicUsize::new(0),
    });
    let owner = Arc::<Owner>::default();
    let (edge, routing) = (Edge(around.clone()), owner.clone());
    tokio::spawn(async move {
        let id = EdgeId::new("e");
        let with = With {
            edge: &id,
            routing: &*routing,
            listener: &edge,
        };
        edge.0.line.keep(with).await;
    });
    let line = around.line.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            line.sweep();
        }
    });
    (owner, around)
}

fn entry(payload: usize) -> Arc<Entry> {
    Arc::new(Entry {
        payload: vec![0; payload].into(),
        ..Entry::default()
    })
}

fn put(around: &Around, mailbox: &Arc<Mailbox>, token: u64) {
    around
        .line
        .submit(entry(100), Ticket::Mail(mailbox.clone(), token));
}

fn stored(seq: u64) -> Outcome {
    Outcome::Stored {
        position: Position::new(FrameSeq(seq), 0),
        duplicate: false,
    }
}

fn answers(epoch: u64, answers: Vec<(u64, Outcome)>) -> Routed {
    Routed {
        epoch,
        answers,
        ..Routed::default()
    }
}

fn outcomes(mailbox: &Mailbox) -> Vec<(u64, Outcome)> {
    let mut mail = Vec::new();
    mailbox.try_take(&mut mail);
    mail.into_iter()
        .map(|m| match m {
            Mail::Settled { token, outcome } => (token, outcome),
            other => panic!("{other:?}"),
        })
        .collect()
}

async fn soon() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_submitted_goes_up_in_order_and_each_is_answered_once() {
    let (owner, around) = start(|_| {});
    soon().await;
    let mailbox = Mailbox::new(1, 1);
    (0..3).for_each(|n| put(&around, &mailbox, n));
    assert_eq!(owner.numbers(0), [(1, false), (2, false), (3, false)]);
    assert!(around.line.waiting_bytes() >= 300);
    assert!(owner.say(0, answers(1, vec![(1, stored(1)), (3, Outcome::Conflict)])));
    assert!(
        owner.say(0, answers(1, vec![(3, stored(9)), (2, stored(2))])),
        "the first word counts"
    );
    assert_eq!(
        outcomes(&mailbox),
        [(0, stored(1)), (2, Outcome::Conflict), (1, stored(2))]
    );
    assert_eq!((around.line.unanswered(), around.line.waiting_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_line_begins_with_what_is_unanswered_and_what_came_meanwhile() {
    let (owner, around) = start(|_| {});
    soon().await;
    let mailbox = Mailbox::new(1, 1);
    (0..4).for_each(|n| put(&around, &mailbox, n));
    owner.say(0, answers(1, vec![(2, stored(1))]));
    *owner.away.lock() = true;
    owner.end(0);
    soon().await;
    put(&around, &mailbox, 4);
    *owner.away.lock() = false;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(owner.first(1), 6, "what is older is sent again");
    assert_eq!(owner.numbers(1), [(1, true), (3, true), (4, true), (5, false)]);
    put(&around, &mailbox, 5);
    assert_eq!(owner.numbers(1).last(), Some(&(6, false)));
    assert!(
        !owner.say(0, answers(1, vec![(1, stored(1))])),
        "the line is over"
    );
    assert_eq!(outcomes(&mailbox), [(1, stored(1))]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_of_an_older_epoch_is_not_heeded() {
    let (owner, around) = start(|_| {});
    soon().await;
    let mailbox = Mailbox::new(1, 1);
    put(&around, &mailbox, 0);
    assert!(owner.say(0, answers(7, Vec::new())));
    owner.end(0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!owner.say(1, answers(6, vec![(1, Outcome::Conflict)])));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(owner.say(2, answers(7, vec![(1, stored(1))])));
    assert_eq!(outcomes(&mailbox), [(0, stored(1))]);
}

#[tokio::test(start_paused = true)]
async fn a_newer_owner_that_is_announced_gets_a_line_at_once() {
    let (owner, around) = start(|_| {});
    soon().await;
    owner.say(0, answers(3, Vec::new()));
    around.line.owner_announced(3);
    soon().await;
    assert_eq!(owner.count(), 1, "it is this one");
    around.line.owner_announced(4);
    soon().await;
    assert_eq!(owner.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_says_nothing_for_too_long_is_looked_for_again() {
    let (owner, around) = start(|_| {});
    soon().await;
    owner.welcome(0, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(owner.count(), 1, "nothing waits");
    put(&around, &Mailbox::new(1, 1), 0);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(owner.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_only_listens_looks_again_for_an_owner_that_never_speaks() {
    let (owner, _around) = start(|_| {});
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(owner.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_newer_owner_that_is_announced_while_another_is_asked_gets_the_line() {
    let (owner, around) = start(|_| {});
    soon().await;
    owner.welcome(0, 3);
    *owner.mute.lock() = true;
    owner.end(0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    put(&around, &Mailbox::new(1, 1), 0);
    *owner.mute.lock() = false;
    around.line.owner_announced(4);
    soon().await;
    assert_eq!(owner.count(), 2, "whoever says nothing is asked no longer");
    assert_eq!(owner.lines.lock()[1].0.epoch, 4, "nobody older is to take it up");
    assert_eq!(owner.numbers(1), [(1, false)]);
    assert!(!owner.welcome(1, 3), "and is not heeded");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(owner.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_ends_as_soon_as_it_is_open_is_not_opened_without_a_pause() {
    let (owner, _around) = start(|_| {});
    *owner.ends.lock() = true;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!((5..=20).contains(&owner.count()), "{}", owner.count());
    *owner.ends.lock() = false;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = owner.count();
    owner.end(before - 1);
    soon().await;
    assert_eq!(owner.count(), before + 1, "this one had stood");
}

/// Announcements may be lost; and of two lines that follow each other the owner may take up the former last.
#[tokio::test(start_paused = true)]
async fn an_owner_that_is_back_is_found_within_a_quarter_second_and_again_at_once() {
    let (owner, _around) = start(|_| {});
    tokio::time::sleep(Duration::from_secs(2)).await;
    *owner.away.lock() = true;
    owner.end(0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    *owner.away.lock() = false;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(owner.count(), 2);
    owner.end(1);
    tokio::time::sleep(Duration::from_millis(21)).await;
    assert_eq!(owner.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_never_answered_is_unknown_in_the_end() {
    let (_owner, around) = start(|_| {});
    let mailbox = Mailbox::new(1, 1);
    put(&around, &mailbox, 0);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(outcomes(&mailbox).is_empty());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(outcomes(&mailbox), [(0, Outcome::Unknown)]);
}

#[tokio::test(start_paused = true)]
async fn too_much_that_waits_is_told_and_so_is_room() {
    let (owner, around) = start(|c| c.max_waiting = runtime::config::ByteSize::kib(1));
    soon().await;
    let mailbox = Mailbox::new(1, 1);
    (0..30).for_each(|n| put(&around, &mailbox, n));
    assert!(around.line.is_full());
    let line = around.line.clone();
    let waiting = tokio::spawn(async move { line.room().await });
    soon().await;
    assert!(!waiting.is_finished());
    owner.say(0, answers(1, (1..=25).map(|n| (n, stored(n))).collect()));
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_attaches_waits_for_the_owner_and_for_the_line_to_be_whole() {
    let (owner, around) = start(|_| {});
    soon().await;
    let ready = Arc::<Known>::default();
    let filter = TopicFilter::trusted("a/b");
    around.line.attach("o".into(), filter, ready.clone());
    let at = |seq| Position::end_of(FrameSeq(seq));
    let mut routed = answers(1, Vec::new());
    routed.attached.push((1, at(5)));
    routed.welcome = Some(Welcome {
        boundary: at(4),
        whole: true,
    });
    owner.say(0, routed);
    assert_eq!(
        (ready.get(), around.line.whole().get()),
        (Some(at(5)), Some(at(4)))
    );
    owner.end(0);
    assert_eq!(around.line.whole().get(), None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut routed = answers(2, Vec::new());
    routed.welcome = Some(Welcome {
        boundary: at(9),
        whole: false,
    });
    owner.say(1, routed);
    assert_eq!(around.line.whole().get(), Some(at(9)));
    assert_eq!(
        around.gaps.load(Ordering::Relaxed),
        1,
        "it did not have all that was missed"
    );
}
