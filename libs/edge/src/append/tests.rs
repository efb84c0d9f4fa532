#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use async_trait::async_trait;
use backplane::journal::Reader;

use super::*;

/// A log that answers when and as it is told.
#[derive(Default)]
struct Log {
    frames: Mutex<Vec<(u64, usize)>>,
    answers: Mutex<Vec<Result<FrameSeq, JournalError>>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// Virtual time that an append takes.
    takes: Duration,
    /// The largest frame it takes; 0 = any.
    limit: usize,
}

#[async_trait]
impl Journal for Log {
    async fn append(
        &self,
        _: PartitionId,
        _: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(self.takes).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let (size, limit) = (frame.len(), self.limit);
        if limit > 0 && size > limit {
            return Err(JournalError::TooLarge { size, limit });
        }
        let frame: Frame = wire::frame::decode(frame).unwrap();
        self.frames.lock().push((id.number, frame.entries.len()));
        let next = FrameSeq(self.frames.lock().len() as u64);
        self.answers.lock().pop().unwrap_or(Ok(next))
    }
    async fn read(&self, _: PartitionId, _: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        Err(JournalError::Closed)
    }
    async fn head(&self, _: PartitionId) -> Result<FrameSeq, JournalError> {
        Ok(FrameSeq(0))
    }
    async fn trim(&self, _: PartitionId, _: FrameSeq) -> Result<(), JournalError> {
        Ok(())
    }
    fn epoch(&self) -> u64 {
        1
    }
    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

const P: PartitionId = PartitionId(0);

fn start(takes: Duration, change: impl FnOnce(&mut crate::Config)) -> (Arc<Log>, Arc<Appender>) {
    start_on(
        Log {
            takes,
            ..Log::default()
        },
        change,
    )
}

fn start_on(log: Log, change: impl FnOnce(&mut crate::Config)) -> (Arc<Log>, Arc<Appender>) {
    let log = Arc::new(log);
    let mut config = crate::Config::default();
    change(&mut config);
    let appender = Appender::new(
        EdgeId::new("e"),
        log.clone(),
        Partitioning::new(1),
        &config,
        1,
        Appended::default(),
    );
    tokio::spawn(appender.clone().run(P));
    (log, appender)
}

fn put(appender: &Appender, mailbox: &Arc<Mailbox>, token: u64) {
    appender.append(P, Bytes::from(vec![0; 100]), Ticket::Mail(mailbox.clone(), token));
}

async fn outcomes(mailbox: &Mailbox, n: usize) -> Vec<(u64, Outcome)> {
    let mut mail = Vec::new();
    while mail.len() < n {
        mailbox.take(&mut mail).await;
    }
    mail.into_iter()
        .map(|m| match m {
            Mail::Settled { token, outcome } => (token, outcome),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn one_frame_is_in_flight_and_the_next_collects_everything_meanwhile() {
    let (log, appender) = start(Duration::from_millis(5), |_| {});
    let mailbox = Mailbox::new(1, 1);
    put(&appender, &mailbox, 0);
    tokio::time::sleep(Duration::from_millis(1)).await;
    (1..=100).for_each(|n| put(&appender, &mailbox, n));
    assert_eq!(appender.waiting_bytes(), 101 * 100);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(
        (log.frames.lock().clone(), appender.waiting_bytes()),
        (vec![(1, 1), (2, 100)], 0)
    );
    assert_eq!(log.most_in_flight.load(Ordering::Relaxed), 1);
    let Appended { frames, entries } = &appender.appended;
    assert_eq!((frames.get(), entries.get()), (2, 101));
    assert_eq!(appender.unsettled(P).len(), 2);
    let refused = Exception {
        index: 99,
        verdict: Verdict::Conflict.into(),
        position: 7,
    };
    for (id, exceptions) in [(1, vec![]), (2, vec![refused])] {
        appender.settle(&Settled {
            id,
            seq: id,
            exceptions,
        });
    }
    let got = outcomes(&mailbox, 101).await;
    assert!(got.iter().map(|(token, _)| *token).eq(0..=100), "in order");
    assert_eq!(got[5].1, stored(Position::new(FrameSeq(2), 4)));
    assert_eq!(got[100].1, Outcome::Conflict);
    assert!(appender.unsettled(P).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_frame_may_be_settled_before_its_append_is_heard_of() {
    let (_log, appender) = start(Duration::from_millis(5), |_| {});
    let mailbox = Mailbox::new(1, 1);
    put(&appender, &mailbox, 0);
    tokio::time::sleep(Duration::from_millis(1)).await;
    appender.settle(&Settled {
        id: 1,
        seq: 9,
        exceptions: vec![],
    });
    assert_eq!(
        outcomes(&mailbox, 1).await,
        [(0, stored(Position::new(FrameSeq(9), 0)))]
    );
    tokio::time::sleep(Duration::from_millis(10)).await;
    appender.settle(&Settled {
        id: 1,
        seq: 9,
        exceptions: vec![],
    });
    assert!(
        appender.unsettled(P).is_empty() && !mailbox.try_take(&mut Vec::new()),
        "once"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_asked_for_with_the_same_id_and_a_failure_is_told() {
    let (log, appender) = start(Duration::ZERO, |_| {});
    let mailbox = Mailbox::new(1, 1);
    log.answers.lock().extend([
        Err(JournalError::Unavailable {
            reason: "disk full".into(),
        }),
        Ok(FrameSeq(1)),
        Err(JournalError::Unknown),
    ]);
    put(&appender, &mailbox, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*log.frames.lock(), [(1, 1), (1, 1)]);
    put(&appender, &mailbox, 1);
    let got = outcomes(&mailbox, 1).await;
    assert!(
        matches!(&got[0], (1, Outcome::Unavailable(why)) if why.contains("disk full")),
        "{got:?}"
    );
    assert_eq!(appender.unsettled(P).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_never_judged_is_asked_for_and_in_the_end_unknown() {
    let (_log, appender) = start(Duration::ZERO, |_| {});
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(appender.clone().sweep(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let mailbox = Mailbox::new(1, 1);
    put(&appender, &mailbox, 0);
    let began = Instant::now();
    assert_eq!(outcomes(&mailbox, 1).await, [(0, Outcome::Unknown)]);
    assert!(began.elapsed() < Duration::from_secs(13) && asked.load(Ordering::Relaxed) >= 8);
}

#[tokio::test(start_paused = true)]
async fn too_much_that_waits_is_told_and_so_is_room() {
    let (_log, appender) = start(Duration::from_millis(5), |c| {
        c.max_waiting = runtime::config::ByteSize::kib(1);
        c.max_frame = runtime::config::ByteSize::kib(1);
    });
    let mailbox = Mailbox::new(1, 1);
    (0..30).for_each(|n| put(&appender, &mailbox, n));
    assert!(appender.is_full());
    let began = Instant::now();
    appender.room().await;
    assert!(
        !appender.is_full() && began.elapsed() >= Duration::from_millis(10),
        "three frames of a kibibyte"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_log_does_not_take_at_once_goes_in_parts_and_what_it_never_takes_is_refused() {
    let log = Log {
        limit: 1000,
        ..Log::default()
    };
    let (log, appender) = start_on(log, |_| {});
    let mailbox = Mailbox::new(1, 1);
    (0..20).for_each(|n| put(&appender, &mailbox, n));
    let large = Bytes::from(vec![0; 1000]);
    appender.append(P, large, Ticket::Mail(mailbox.clone(), 20));
    put(&appender, &mailbox, 21);
    assert_eq!(
        outcomes(&mailbox, 1).await,
        [(20, Outcome::TooLarge)],
        "at once: it will never fit"
    );
    tokio::time::sleep(Duration::from_millis(1)).await;
    let frames = log.frames.lock().clone();
    assert_eq!(frames.iter().map(|(_, entries)| entries).sum::<usize>(), 21);
    for (seq, (id, _)) in (1u64..).zip(&frames) {
        let exceptions = Vec::new();
        appender.settle(&Settled {
            id: *id,
            seq,
            exceptions,
        });
    }
    let got = outcomes(&mailbox, 21).await;
    assert!(
        got.iter().map(|(token, _)| *token).eq((0..20).chain([21])),
        "in order"
    );
    assert!(appender.unsettled(P).is_empty() && appender.waiting_bytes() == 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_stored_is_not_said_to_be_refused_because_a_later_try_was() {
    let (log, appender) = start(Duration::ZERO, |_| {});
    let full = || {
        Err(JournalError::Unavailable {
            reason: "full".into(),
        })
    };
    log.answers.lock().extend([full(), Err(JournalError::Unknown)]);
    let mailbox = Mailbox::new(1, 1);
    put(&appender, &mailbox, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(appender.unsettled(P), [(1, FrameSeq(3))]);
    *log.answers.lock() = (0..1000)
        .map(|_| full())
        .chain([Err(JournalError::Unknown)])
        .collect();
    put(&appender, &mailbox, 1);
    assert_eq!(outcomes(&mailbox, 1).await, [(1, Outcome::Unknown)]);
}

/// Half of them begin while the messages of the others are being stored: left alone, the two halves would take turns for ever.
#[tokio::test(start_paused = true)]
async fn senders_that_are_answered_together_share_their_next_frame() {
    let (log, appender) = start(Duration::from_millis(20), |_| {});
    let mailbox = Mailbox::new(1, 1);
    (0..8).for_each(|n| put(&appender, &mailbox, n));
    sleep(Duration::from_millis(10)).await;
    (8..16).for_each(|n| put(&appender, &mailbox, n));
    let (mut answered, mut mail) = (0, Vec::new());
    while answered < 20 {
        sleep(Duration::from_millis(1)).await;
        let Some((id, _)) = log.frames.lock().get(answered).copied() else {
            continue;
        };
        answered += 1;
        sleep(Duration::from_millis(2)).await;
        let exceptions = Vec::new();
        appender.settle(&Settled {
            id,
            seq: id,
            exceptions,
        });
        mailbox.try_take(&mut mail);
        (0..)
            .zip(mail.drain(..))
            .for_each(|(n, _)| put(&appender, &mailbox, n));
    }
    let frames = log.frames.lock().clone();
    assert!(
        frames.iter().skip(1).all(|(_, messages)| *messages == 16),
        "{frames:?}"
    );
}
