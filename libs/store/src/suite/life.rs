//! What becomes of threads, against the model of them.

use model::thread::{Act, Change, Members, Membership, Offer, Step, Thread, ThreadStatus};
use model::{FrameSeq, UnixMillis, UserId};

use super::*;
use crate::{NewThread, StoredThread, ThreadEvent};

/// A thread as the model has it.
pub(super) struct Talk {
    pub new: NewThread,
    pub life: Thread,
    pub members: Members,
}

impl Talk {
    /// Of a visitor with the desk of a workgroup, or of an agent.
    pub fn new(kind: &'static str, desk: &str, visitor: &str) -> Self {
        let name = format!("org/{}/{desk}/{visitor}", kind.to_lowercase());
        Self {
            new: NewThread {
                org: org(),
                partition: partition(&name),
                uid: format!("thread {name}"),
                kind,
                desk: desk.into(),
                party: visitor.into(),
                nickname: "Nick".into(),
                avatar: String::new(),
                has_life: kind != "MEMBER",
                at: UnixMillis(0),
                topic: topic(&name),
            },
            life: of_desk(kind, desk),
            members: Members::default(),
        }
    }

    pub fn group(visitor: &str) -> Self {
        Self::new("WORKGROUP", "w", visitor)
    }

    fn event(&self, position: Position, change: Option<Change>) -> ThreadEvent {
        ThreadEvent {
            thread: NewThread {
                at: at(position),
                ..self.new.clone()
            },
            position,
            change,
        }
    }
}

/// One that nothing was heard of. Whose own desk it is takes part by the topic; the store does not know under which user.
fn of_desk(kind: &str, desk: &str) -> Thread {
    let mut life = Thread::default();
    if kind == "AGENT" {
        life.desk_agent = Some(desk.into());
        life.members
            .push(Membership::from(desk.into(), desk.into(), Position::START));
    }
    life
}

/// When what stands at a place was accepted.
pub(super) fn at(position: Position) -> UnixMillis {
    UnixMillis(1000 * position.seq().0)
}

/// Writes the log of all of them.
pub(super) struct Log {
    pub store: Arc<dyn Store>,
    pub next: u64,
    /// Everything that happened.
    pub events: Vec<ThreadEvent>,
}

impl Log {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (next, events) = (0, Vec::new());
        Self { store, next, events }
    }

    pub fn place(&mut self) -> Position {
        self.next += 1;
        Position::new(FrameSeq(self.next), 0)
    }

    pub async fn apply(&self, threads: Vec<ThreadEvent>) {
        let batch = LogBatch {
            threads,
            ..LogBatch::default()
        };
        self.store.apply(Arc::new(batch)).await.unwrap();
    }

    /// Somebody speaks.
    pub async fn speak(&mut self, talk: &Talk) -> Position {
        let position = self.place();
        let event = talk.event(position, None);
        self.events.push(event.clone());
        self.apply(vec![event]).await;
        position
    }

    /// A step is taken; the store has what the model says.
    pub async fn take(&mut self, talk: &mut Talk, step: Step) -> Position {
        let change = talk.life.decide(step).unwrap();
        let position = self.place();
        let event = talk.event(position, Some(change.clone()));
        self.events.push(event.clone());
        self.apply(vec![event]).await;
        talk.life.apply(position, &change);
        talk.members.apply(position, &change);
        self.check(talk).await;
        position
    }

    pub async fn stored(&self, talk: &Talk) -> StoredThread {
        let stored = self.store.thread(&talk.new.org, &talk.new.topic).await.unwrap();
        stored.unwrap()
    }

    pub async fn check(&self, talk: &Talk) {
        let stored = self.stored(talk).await;
        let by_member = |mut life: Thread| {
            life.members.sort_by(|a, b| a.member.cmp(&b.member));
            life
        };
        assert_eq!(by_member(stored.life), by_member(talk.life.clone()));
        assert_eq!(stored.row.status, talk.life.status.as_str());
        assert_eq!(stored.row.agent, talk.life.agent);
        let members = self.store.members(&talk.new.org, &talk.new.topic).await.unwrap();
        assert_eq!(members, talk.members);
    }
}

/// The agent of a name, and the user behind it.
pub(super) fn agent(name: &str) -> (UserId, UserId) {
    (name.into(), format!("user-of-{name}").as_str().into())
}

/// It begins, with an agent or waiting for one.
pub(super) fn open(talk: &Talk, with: Option<&str>) -> Step {
    Step::Open {
        visitor: talk.new.party.as_str().into(),
        status: with.map_or(ThreadStatus::Queuing, |_| ThreadStatus::Chatting),
        agent: with.map(agent),
        since: Position::END,
    }
}

pub(super) fn assign(name: &str, since: Position) -> Step {
    let agent = agent(name);
    Step::Assign { agent, since }
}

pub(super) fn offer(uid: &str, from: &str, to: &[&str], is_invitation: bool) -> Step {
    Step::Offer(Offer {
        uid: uid.into(),
        is_invitation,
        from: from.into(),
        to: to.iter().map(|to| (*to).into()).collect(),
        expires_at: UnixMillis(1_000_000),
    })
}

pub(super) fn accept(uid: &str, name: &str) -> Step {
    Step::Accept {
        offer: uid.into(),
        agent: agent(name),
        at: UnixMillis(1),
    }
}

/// From where to where somebody sees a thread; the end of what lasts is 0.
fn stretches(members: &Members, name: &str) -> Vec<(u64, u64)> {
    let own = members.all.iter().filter(|m| m.member.as_str() == name);
    let end = |m: &model::thread::Membership| if m.lasts() { 0 } else { m.until.0 };
    own.map(|m| (m.since.0, end(m))).collect()
}

/// A transfer makes one a member and ends the membership of the other at the same place; an invitation adds one.
pub async fn a_thread_is_handed_on_and_shared(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let mut talk = Talk::group("v");
    let opening = open(&talk, Some("a"));
    let opened = log.take(&mut talk, opening).await;
    assert_eq!(stretches(&talk.members, "a"), [(opened.before().0, 0)]);
    log.take(&mut talk, offer("t", "a", &["b", "c"], false)).await;
    log.take(&mut talk, offer("i", "a", &["d"], true)).await;
    let offers = log.stored(&talk).await.life.offers;
    assert_eq!(offers, talk.life.offers);
    assert_eq!(offers[0].to, ["b".into(), "c".into()]);
    let handed = log.take(&mut talk, accept("t", "b")).await;
    let members = log.store.members(&org(), &talk.new.topic).await.unwrap();
    assert_eq!(stretches(&members, "a"), [(opened.before().0, handed.0)]);
    assert_eq!(stretches(&members, "b"), [(handed.before().0, 0)]);
    log.take(&mut talk, accept("i", "d")).await;
    let names = |thread: StoredThread| {
        let all = thread.life.members.into_iter().map(|m| m.member.to_string());
        all.collect::<Vec<_>>()
    };
    assert_eq!(names(log.stored(&talk).await), ["v", "b", "d"]);
    log.take(&mut talk, Step::Leave("b".into())).await;
    assert_eq!(log.stored(&talk).await.life.agent, Some("d".into()));
    log.take(&mut talk, Step::Leave("d".into())).await;
    let waits = log.stored(&talk).await;
    assert_eq!((waits.row.status.as_str(), waits.row.agent), ("QUEUING", None));
    // The same agent from the same place on: another membership all the same.
    log.take(&mut talk, assign("d", handed)).await;
    log.take(&mut talk, Step::Leave("d".into())).await;
    log.take(&mut talk, assign("d", handed)).await;
    assert_eq!(stretches(&talk.members, "d").len(), 3);
}

/// Closing ends every membership and every offer; opening again begins new memberships.
pub async fn a_thread_is_closed_and_opened_again(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let mut talk = Talk::group("v");
    let mut other = Talk::group("w");
    for talk in [&mut talk, &mut other] {
        let opening = open(talk, Some("a"));
        log.take(talk, opening).await;
        log.take(talk, offer("t", "a", &["b"], false)).await;
    }
    let closed = log.take(&mut talk, Step::Close).await;
    let stored = log.stored(&talk).await;
    assert!(stored.life.members.is_empty() && stored.life.offers.is_empty());
    assert_eq!(
        (stored.row.status.as_str(), stored.pending),
        ("CLOSED", Position::START)
    );
    assert_eq!(
        log.stored(&other).await.life.offers.len(),
        1,
        "another thread's stays"
    );
    let spoken = log.speak(&talk).await;
    assert_eq!(log.stored(&talk).await.pending, spoken);
    let again = Step::Open {
        visitor: "v".into(),
        status: ThreadStatus::Chatting,
        agent: Some(agent("a")),
        since: spoken.before(),
    };
    log.take(&mut talk, again).await;
    let members = log.store.members(&org(), &talk.new.topic).await.unwrap();
    assert_eq!(stretches(&members, "a")[1], (spoken.before().0, 0));
    assert_eq!(stretches(&members, "a")[0].1, closed.0);
    let stored = log.stored(&talk).await;
    assert_eq!((stored.pending, stored.life.members.len()), (Position::START, 2));
    drop(log);
    Log::new(fixture.open().await).check(&talk).await;
}

/// Who speaks in a thread that is not open has it decided on, from the first word on; in others speaking means nothing.
pub async fn who_speaks_in_a_thread_that_is_not_open_makes_it_pending(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let mut talk = Talk::group("v");
    let topic = talk.new.topic.clone();
    assert_eq!(log.store.thread(&org(), &topic).await.unwrap(), None);
    assert_eq!(
        log.store.members(&org(), &topic).await.unwrap(),
        Members::default()
    );
    let first = log.speak(&talk).await;
    log.speak(&talk).await;
    let stored = log.stored(&talk).await;
    assert_eq!((stored.row.status.as_str(), stored.pending), ("NEW", first));
    assert_eq!((&stored.life, stored.org), (&Thread::default(), org()));
    let found = log.store.thread_topic(&org(), &talk.new.uid).await.unwrap();
    assert_eq!(found, Some(topic));
    assert_eq!(log.store.thread_topic(&org(), "none").await.unwrap(), None);
    let elsewhere = log.store.thread_topic(&OrgId::new("other"), &talk.new.uid).await;
    assert_eq!(elsewhere.unwrap(), None);
    let pending = async |log: &Log, talk: &Talk| log.stored(talk).await.pending;
    let opening = open(&talk, None);
    log.take(&mut talk, opening).await;
    assert_eq!(pending(&log, &talk).await, Position::START);
    log.speak(&talk).await;
    assert_eq!(pending(&log, &talk).await, Position::START, "it is open");
    log.take(&mut talk, Step::Close).await;
    log.apply(log.events.clone()).await;
    assert_eq!(pending(&log, &talk).await, Position::START, "that was before");
    let again = log.speak(&talk).await;
    log.speak(&talk).await;
    assert_eq!(pending(&log, &talk).await, again);

    let colleagues = Talk::new("MEMBER", "m1", "m2");
    log.speak(&colleagues).await;
    log.speak(&colleagues).await;
    let stored = log.stored(&colleagues).await;
    let idle = (stored.row.status.as_str(), stored.pending, stored.life.version);
    assert_eq!(idle, ("CHATTING", Position::START, Position::START));
    assert_eq!(log.store.pending_threads(9).await.unwrap().len(), 1);
}

/// What is applied again changes nothing, in whatever batches it comes; in one batch it comes to the same.
pub async fn threads_become_what_the_model_says(fixture: &impl Fixture) {
    let mut random = Random(11);
    let mut log = Log::new(fixture.open().await);
    let mut talks: Vec<Talk> = (0..4).map(|n| Talk::group(&format!("v{n}"))).collect();
    let mut acts = std::collections::HashSet::new();
    for talk in &talks {
        log.speak(talk).await;
    }
    for round in 0..400 {
        let talk = random.below(4) as usize;
        let name = random.one_of(&["a", "b", "c"]);
        let uid = format!("o{}", random.below(3));
        let step = match random.below(14) {
            0 => {
                log.speak(&talks[talk]).await;
                continue;
            }
            1 => open(&talks[talk], None),
            2 => open(&talks[talk], Some(name)),
            3 | 4 => assign(name, Position(random.below(99))),
            5 | 9 | 10 => offer(&uid, name, &["a", "b", "c"], random.below(2) == 0),
            6 | 7 | 11 | 12 => accept(&uid, name),
            8 => Step::Leave(name.into()),
            _ if random.below(2) == 0 => Step::Close,
            _ => Step::Wait(ThreadStatus::Offline),
        };
        let offers_again =
            matches!(&step, Step::Offer(o) if talks[talk].life.offers.iter().any(|p| p.uid == o.uid));
        if let (Ok(change), false) = (talks[talk].life.decide(step.clone()), offers_again) {
            acts.insert(change.act);
            log.take(&mut talks[talk], step).await;
        }
        if round % 80 == 79 {
            let events = std::mem::take(&mut log.events);
            let next = log.next;
            drop(log);
            log = Log::new(fixture.open().await);
            (log.next, log.events) = (next, events);
            let pending = pendings(&log, &talks).await;
            let owed = log.store.owed_notices(999).await.unwrap();
            log.apply(log.events.clone()).await;
            assert_eq!(pendings(&log, &talks).await, pending);
            assert_eq!(log.store.owed_notices(999).await.unwrap(), owed);
            for talk in &talks {
                log.check(talk).await;
            }
        }
    }
    let all = [
        Act::Opened,
        Act::Assigned,
        Act::Closed,
        Act::Offered,
        Act::Accepted,
        Act::Left,
        Act::Waiting,
    ];
    assert!(all.iter().all(|act| acts.contains(act)), "{acts:?}");
    // The same once more under other names, at once.
    let renamed = |thread: &NewThread| {
        let name = format!("{}x", thread.topic);
        NewThread {
            partition: partition(&name),
            topic: topic(&name),
            ..thread.clone()
        }
    };
    let again = |event: &ThreadEvent| ThreadEvent {
        thread: renamed(&event.thread),
        ..event.clone()
    };
    log.apply(log.events.iter().map(again).collect()).await;
    let pending = pendings(&log, &talks).await;
    talks.iter_mut().for_each(|talk| talk.new = renamed(&talk.new));
    for talk in &talks {
        log.check(talk).await;
    }
    assert_eq!(pendings(&log, &talks).await, pending);
}

async fn pendings(log: &Log, talks: &[Talk]) -> Vec<Position> {
    let mut all = Vec::new();
    for talk in talks {
        all.push(log.stored(talk).await.pending);
    }
    all
}
