use super::*;

fn uid(name: &str) -> UserId {
    UserId::new(name)
}

fn agent(name: &str) -> (UserId, UserId) {
    (uid(name), uid(&format!("user-of-{name}")))
}

fn open() -> Step {
    Step::Open {
        visitor: uid("v"),
        status: ThreadStatus::Chatting,
        agent: Some(agent("a")),
        since: Position::END,
    }
}

fn offer(name: &str, is_invitation: bool) -> Step {
    Step::Offer(Offer {
        uid: name.into(),
        is_invitation,
        from: uid("a"),
        to: vec![uid("b")],
        expires_at: UnixMillis(100),
    })
}

fn accept(name: &str) -> Step {
    Step::Accept {
        offer: name.into(),
        agent: agent("b"),
        at: UnixMillis(50),
    }
}

struct Log {
    thread: Thread,
    members: Members,
    next: u64,
}

impl Log {
    fn new() -> Self {
        Self {
            thread: Thread::default(),
            members: Members::default(),
            next: 10,
        }
    }

    fn take(&mut self, step: Step) -> Result<Change, Refused> {
        let change = self.thread.decide(step)?;
        assert_eq!(change.expects, self.thread.version);
        let at = Position(self.next);
        self.next += 10;
        self.thread.apply(at, &change);
        self.members.apply(at, &change);
        Ok(change)
    }

    fn names(&self) -> Vec<&str> {
        self.thread.members.iter().map(|m| m.member.as_str()).collect()
    }

    /// From where to where somebody sees it.
    fn stretches(&self, name: &str) -> Vec<(u64, u64)> {
        let own = self.members.of(|member| member.as_str() == name);
        own.map(|m| (m.since.0, m.until.0)).collect()
    }
}

const END: u64 = Position::END.0;

#[test]
fn a_transfer_makes_one_a_member_and_ends_the_others_membership_at_the_same_place() {
    let mut log = Log::new();
    log.take(open()).unwrap();
    log.take(offer("t", false)).unwrap();
    assert_eq!(log.thread.offers.len(), 1);
    log.take(accept("t")).unwrap();
    assert_eq!(log.names(), ["v", "b"]);
    assert_eq!(log.thread.agent, Some(uid("b")));
    assert_eq!(log.stretches("a"), [(9, 30)], "the change is the last it sees");
    assert_eq!(
        log.stretches("b"),
        [(29, END)],
        "and the first that the other sees"
    );
    assert!(log.thread.offers.is_empty());
    assert_eq!(log.take(accept("t")), Err(Refused::NoOffer), "once");
}

#[test]
fn an_invitation_adds_and_does_not_remove() {
    let mut log = Log::new();
    log.take(open()).unwrap();
    log.take(offer("i", true)).unwrap();
    log.take(accept("i")).unwrap();
    assert_eq!(log.names(), ["v", "a", "b"]);
    assert_eq!(log.thread.agent, Some(uid("a")));
    assert_eq!(log.take(offer("again", true)), Err(Refused::IsMember));
    log.take(Step::Leave(uid("a"))).unwrap();
    assert_eq!(log.thread.agent, Some(uid("b")), "whoever is left has it");
    log.take(Step::Leave(uid("b"))).unwrap();
    assert_eq!(log.thread.status, ThreadStatus::Queuing, "it waits for somebody");
}

#[test]
fn an_offer_is_answered_by_whom_it_was_made_to_and_in_time() {
    let mut log = Log::new();
    assert_eq!(log.take(offer("t", false)), Err(Refused::NotOpen));
    log.take(open()).unwrap();
    log.take(offer("t", false)).unwrap();
    let other = Step::Accept {
        offer: "t".into(),
        agent: agent("c"),
        at: UnixMillis(50),
    };
    assert_eq!(log.take(other), Err(Refused::NotOffered));
    let late = Step::Accept {
        offer: "t".into(),
        agent: agent("b"),
        at: UnixMillis(101),
    };
    assert_eq!(log.take(late), Err(Refused::NoOffer));
    let decline = |by: Option<&str>, at| Step::Decline {
        offer: "t".into(),
        by: by.map(uid),
        at: UnixMillis(at),
    };
    assert_eq!(log.take(decline(None, 100)), Err(Refused::Nothing), "not yet");
    assert_eq!(log.take(decline(Some("c"), 50)), Err(Refused::NotOffered));
    log.take(decline(None, 101)).unwrap();
    assert_eq!(log.names(), ["v", "a"]);
    assert!(log.thread.offers.is_empty());
}

#[test]
fn closing_ends_every_membership_and_opening_again_begins_new_ones() {
    let mut log = Log::new();
    log.take(open()).unwrap();
    log.take(offer("t", false)).unwrap();
    log.take(Step::Close).unwrap();
    assert!(log.names().is_empty() && log.thread.offers.is_empty());
    assert_eq!(log.take(Step::Close), Err(Refused::NotOpen));
    assert_eq!(log.take(accept("t")), Err(Refused::NoOffer));
    let again = Step::Open {
        visitor: uid("v"),
        status: ThreadStatus::Queuing,
        agent: None,
        since: Position(34),
    };
    log.take(again.clone()).unwrap();
    assert_eq!(log.take(again), Err(Refused::Nothing));
    let assign = Step::Assign {
        agent: agent("a"),
        since: Position(34),
    };
    log.take(assign.clone()).unwrap();
    assert_eq!(log.take(assign), Err(Refused::Nothing));
    assert_eq!(log.stretches("a"), [(9, 30), (34, END)], "a union of stretches");
    let covered = |at| {
        log.members
            .of(|m| m.as_str() == "a")
            .any(|m| m.covers(Position(at)))
    };
    assert_eq!(
        [10, 30, 31, 34, 35].map(covered),
        [true, true, false, false, true]
    );
}

#[test]
fn whose_desk_it_is_takes_part_until_somebody_else_has_its_place() {
    let mut log = Log::new();
    log.thread.desk_agent = Some(uid("a"));
    let (member, user) = agent("a");
    log.thread
        .members
        .push(Membership::from(member, user, Position::START));
    let opened = log.take(open()).unwrap();
    assert_eq!(
        opened.joined.len(),
        1,
        "the visitor; the agent is there by the topic"
    );
    log.take(Step::Close).unwrap();
    assert_eq!(log.names(), ["a"]);
    log.take(open()).unwrap();
    log.take(offer("t", false)).unwrap();
    log.take(accept("t")).unwrap();
    log.take(Step::Close).unwrap();
    assert!(log.names().is_empty());
    assert_eq!(log.stretches("a"), [(0, 50)]);
    log.take(open()).unwrap();
    assert_eq!(
        log.stretches("a"),
        [(0, 50), (69, END)],
        "it gets it back with the next opening"
    );
}

#[test]
fn every_name_and_number_comes_back() {
    for status in ["NEW", "OFFLINE", "QUEUING", "ROBOTING", "CHATTING", "CLOSED"] {
        assert_eq!(ThreadStatus::parse(status).unwrap().as_str(), status);
    }
    assert_eq!(ThreadStatus::parse("chatting"), None);
    assert_eq!((1..=8).filter_map(Act::from_number).count(), 8);
    assert_eq!(Act::from_number(0), None);
}
