//! Which submissions are accepted, seen from an edge: the outcomes of its messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use edge::Outcome;
use model::thread::{Change, Membership, Step, Thread, ThreadStatus};
use model::{Position, ReceiptKind, Role};
use tokio::time::Instant;
use wire::{Entry, Kind, ThreadChange};

use crate::attach::World;

const TOPIC: &str = "org/agent/desk/visitor";
/// Long after the recall window of what is sent at 0.
const LATE: u64 = 1_000_000;

fn text(uid: &str, sender: &str, digest: u64, at: u64) -> Entry {
    Entry {
        kind: Kind::Chat.into(),
        org: "o".into(),
        topic: TOPIC.into(),
        sender: sender.into(),
        sender_role: Role::Visitor.number(),
        author: sender.into(),
        uid: uid.into(),
        r#type: "TEXT".into(),
        accepted_at: at,
        digest,
        ..Entry::default()
    }
}

fn about(kind: Kind, r#type: &str, uid: &str, sender: &str, target: &str, at: u64) -> Entry {
    Entry {
        kind: kind.into(),
        r#type: r#type.into(),
        target: target.into(),
        state: match r#type {
            "READ" => ReceiptKind::Read as u32,
            "DELIVERED" => ReceiptKind::Delivered as u32,
            _ => 0,
        },
        ..text(uid, sender, 99, at)
    }
}

fn stored(outcome: &Outcome) -> (Position, bool) {
    match outcome {
        Outcome::Stored { position, duplicate } => (*position, *duplicate),
        other => panic!("not stored: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_resend_gets_the_first_ones_position_and_another_payload_a_conflict() {
    let world = World::new(1);
    let _routing = world.routing(0);
    let (core, _edge) = world.edge();
    let say = async |entry: Entry| core.submit_and_wait(entry).await;
    let (first, again) = (say(text("1", "a", 7, 5)).await, say(text("1", "a", 7, 9)).await);
    assert_eq!(stored(&first), (stored(&again).0, false));
    assert!(stored(&again).1);
    assert_eq!(say(text("1", "a", 8, 9)).await, Outcome::Conflict);
    assert_eq!(
        say(text("1", "b", 7, 9)).await,
        Outcome::Conflict,
        "a uid is one message of its topic, whoever sends it"
    );
    let elsewhere = Entry {
        topic: "org/agent/desk/other".into(),
        ..text("1", "b", 7, 9)
    };
    assert!(!stored(&say(elsewhere).await).1, "in another topic it is another");
    // In one frame as well, and after a change of owner.
    let (one, two, three) = tokio::join!(
        say(text("2", "a", 1, 9)),
        say(text("2", "a", 1, 9)),
        say(text("2", "a", 2, 9))
    );
    assert_eq!(stored(&one).0, stored(&two).0);
    assert!(stored(&two).1 && three == Outcome::Conflict);
    _routing.kill();
    let _next = world.routing(1);
    assert!(stored(&say(text("1", "a", 7, 5)).await).1);
    assert_eq!(say(text("2", "a", 3, 9)).await, Outcome::Conflict);
    assert_eq!(
        world.store.lookups.load(Ordering::Relaxed),
        0,
        "it has seen the log from its beginning"
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_resend_is_looked_up_in_the_store() {
    let world = World::new(1);
    let routing = world.routing_that(0, |c| c.remembered_messages = 3);
    let (core, _edge) = world.edge();
    let say = async |entry: Entry| core.submit_and_wait(entry).await;
    for n in 0..20 {
        say(text(&format!("m{n}"), "a", n, LATE + n * 10_000)).await;
    }
    let before = world.store.lookups.load(Ordering::Relaxed);
    assert_eq!(
        before, 0,
        "what is new is not looked up, whatever its client's clock says"
    );
    let first = world.store.first_of(TOPIC, "m0");
    assert_eq!(stored(&say(text("m0", "a", 0, LATE * 9)).await), (first, true));
    assert_eq!(say(text("m0", "a", 8, 5)).await, Outcome::Conflict);
    assert_eq!(say(text("m0", "b", 0, 5)).await, Outcome::Conflict);
    assert!(world.store.lookups.load(Ordering::Relaxed) > 0);
    // After a change of owner, whether or not anything was stored for it.
    tokio::time::sleep(Duration::from_secs(15)).await;
    routing.kill();
    let _next = world.routing_that(1, |c| (c.remembered_messages, c.replayed_frames) = (3, 2));
    assert_eq!(stored(&say(text("m0", "a", 0, 5)).await), (first, true));
    assert!(!stored(&say(text("new", "a", 0, 5)).await).1);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_only_what_may_be_a_repetition_waits_and_is_then_to_be_sent_again() {
    let world = World::new(1);
    let _routing = world.routing_that(0, |c| c.remembered_messages = 3);
    let (core, _edge) = world.edge();
    for n in 0..5 {
        core.submit_and_wait(text(&format!("m{n}"), "a", n, 5)).await;
    }
    world.store.hangs.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let generic = Entry {
        kind: Kind::Generic.into(),
        uid: String::new(),
        ..text("", "a", 0, 5)
    };
    let perhaps = async |uid: &str| {
        let outcome = core.submit_and_wait(text(uid, "a", 9, 5)).await;
        (outcome, began.elapsed())
    };
    let behind = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let behind = Entry {
            sender: "a".into(),
            ..generic.clone()
        };
        (core.submit_and_wait(behind).await, began.elapsed())
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let of_another = Entry {
            sender: "b".into(),
            ..generic.clone()
        };
        core.submit_and_wait(of_another).await;
        core.submit_and_wait(text("fresh", "b", 1, 0)).await;
        began.elapsed()
    };
    let (first, second, others) = tokio::join!(perhaps("m0"), behind, others);
    for (outcome, after) in [first, second] {
        assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
        assert!((1900..2200).contains(&after.as_millis()), "{after:?}");
    }
    assert!(
        others < Duration::from_millis(600),
        "nobody else waits: {others:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_recall_is_its_authors_within_the_window_or_an_agents_of_the_thread() {
    let world = World::new(1);
    let _routing = world.routing(0);
    let (core, _edge) = world.edge();
    let say = async |entry: Entry| core.submit_and_wait(entry).await;
    say(text("1", "a", 7, 5)).await;
    let recall =
        |uid: &str, sender: &str, target: &str, at| about(Kind::Recall, "RECALL", uid, sender, target, at);
    assert_eq!(say(recall("r1", "b", "1", 6)).await, Outcome::Forbidden);
    assert_eq!(say(recall("r2", "a", "1", LATE)).await, Outcome::Rejected);
    assert_eq!(say(recall("r3", "a", "nothing", 6)).await, Outcome::Rejected);
    assert!(
        !stored(&say(recall("r1", "a", "1", 6)).await).1,
        "a refused recall does not use its uid up"
    );
}

/// What was taken back is shown by nobody any more, so nothing is added to it: those who listen would see what history does not have.
#[tokio::test(start_paused = true)]
async fn nothing_is_added_to_what_was_taken_back() {
    for remembered in [500_000, 3] {
        let world = World::new(1);
        let _routing = world.routing_that(0, |c| c.remembered_messages = remembered);
        let (core, _edge) = world.edge();
        let say = async |entry: Entry| core.submit_and_wait(entry).await;
        let part = |digest: u64| Entry {
            kind: Kind::StreamPart.into(),
            r#type: "STREAM".into(),
            ..text("s", "a", digest, LATE)
        };
        let recall = |uid: &str, target: &str| about(Kind::Recall, "RECALL", uid, "a", target, LATE);
        stored(&say(part(1)).await);
        stored(&say(part(2)).await);
        let (first, _) = stored(&say(recall("r1", "s")).await);
        assert_eq!(
            stored(&say(recall("r2", "s")).await),
            (first, true),
            "once is enough"
        );
        assert_eq!(
            say(recall("r3", "r1")).await,
            Outcome::Rejected,
            "a recall stands"
        );
        assert_eq!(say(part(3)).await, Outcome::Rejected);
        for n in 0..6 {
            stored(&say(text(&format!("m{n}"), "a", n, LATE)).await);
        }
        assert_eq!(
            say(part(4)).await,
            Outcome::Rejected,
            "{remembered} are remembered"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn receipts_go_forward_only_and_not_to_their_own_authors_messages() {
    let world = World::new(1);
    let _routing = world.routing(0);
    let (core, _edge) = world.edge();
    let got = world.listen(&core).await;
    let say = async |entry: Entry| stored(&core.submit_and_wait(entry).await);
    let receipt = |uid: &str, kind: &str, sender: &str| about(Kind::Receipt, kind, uid, sender, "1", 9);
    say(text("1", "a", 7, 5)).await;
    say(receipt("own", "READ", "a")).await;
    say(receipt("d1", "DELIVERED", "b")).await;
    say(receipt("d2", "DELIVERED", "b")).await;
    say(receipt("r1", "READ", "b")).await;
    say(receipt("d3", "DELIVERED", "c")).await;
    say(text("marker", "a", 7, 5)).await;
    let uids = || got.lock().iter().map(|(.., uid)| uid.clone()).collect::<Vec<_>>();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if uids().contains(&"marker".to_owned()) {
            break;
        }
    }
    assert_eq!(uids(), ["1", "d1", "r1", "marker"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_log_reaches_those_who_are_there_and_has_no_number() {
    let world = World::new(1);
    let _routing = world.routing(0);
    let (core, _edge) = world.edge();
    let got = world.listen(&core).await;
    let typing = Entry {
        kind: Kind::Transient.into(),
        r#type: "TYPING".into(),
        ..text("t", "visitor", 0, 5)
    };
    core.send_transient(typing);
    let refused = Entry {
        kind: Kind::Chat.into(),
        ..text("smuggled", "visitor", 0, 5)
    };
    core.send_transient(refused);
    core.submit_and_wait(text("1", "a", 7, 5)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let got: Arc<_> = got;
    let seen: Vec<_> = got
        .lock()
        .iter()
        .map(|(_, p, uid)| (*p > Position::START, uid.clone()))
        .collect();
    assert_eq!(seen, [(false, "t".to_owned()), (true, "1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_member_hears_its_thread_from_its_joining_until_it_leaves() {
    let world = World::new(1);
    let _routing = world.routing(0);
    let (core, _edge) = world.edge();
    let got = world.listen(&core).await;
    let thread = "org/workgroup/w/v";
    let say = async |uid: &str| {
        let entry = Entry {
            topic: thread.into(),
            ..text(uid, "v", 1, 5)
        };
        let position = stored(&core.submit_and_wait(entry).await).0;
        tokio::time::sleep(Duration::from_secs(1)).await;
        position
    };
    let mut life = Thread::default();
    let mut change_by = async |step: Step| {
        let change = life.decide(step).unwrap();
        let entry = Entry {
            topic: thread.into(),
            ..change_of(&change)
        };
        let (position, _) = stored(&core.submit_and_wait(entry).await);
        life.apply(position, &change);
        tokio::time::sleep(Duration::from_secs(1)).await;
        position
    };
    let tell = async |membership: Membership| {
        let entry = Entry {
            kind: Kind::Membership.into(),
            topic: "user/agent".into(),
            target: thread.into(),
            change: Some(ThreadChange::notice(&membership)),
            uid: String::new(),
            ..text("", "server", 1, 5)
        };
        core.submit_and_wait(entry).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let member = |since| Membership::from("desk".into(), "agent".into(), since);
    let joined = say("before").await;
    say("meanwhile").await;
    let open = |since| Step::Open {
        visitor: "v".into(),
        status: ThreadStatus::Chatting,
        agent: Some(("desk".into(), "agent".into())),
        since,
    };
    change_by(open(joined)).await;
    tell(member(joined)).await;
    say("member").await;
    // Its end is a place of the thread, whoever is told of it when.
    change_by(Step::Close).await;
    let left = say("left").await;
    change_by(open(left)).await;
    tell(member(left)).await;
    say("again").await;
    let uids: Vec<_> = got.lock().iter().map(|(.., uid)| uid.clone()).collect();
    assert_eq!(uids, ["meanwhile", "member", "again"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_prompt_takes_its_place_once_and_nothing_elses() {
    let world = World::new(1);
    let _routing = world.routing(0);
    let (core, _edge) = world.edge();
    let say = async |entry: Entry| core.submit_and_wait(entry).await;
    let prompt = wire::envelope::server_uid(wire::envelope::PROMPT, &["thread"]);
    let answer = |target: &str, digest: u64| Entry {
        kind: Kind::Edit.into(),
        r#type: "LEAVE_MSG_SUBMIT".into(),
        target: target.into(),
        ..text(target, "visitor", digest, 5)
    };
    assert_eq!(
        say(answer(&prompt, 1)).await,
        Outcome::Rejected,
        "there is no such prompt"
    );
    say(text(&prompt, "longwire", 7, 5)).await;
    let first = stored(&say(answer(&prompt, 1)).await);
    assert!(!first.1);
    assert_eq!(stored(&say(answer(&prompt, 1)).await), (first.0, true));
    assert_eq!(say(answer(&prompt, 2)).await, Outcome::Conflict);
    let recall = |uid: &str, sender: &str| about(Kind::Recall, "RECALL", uid, sender, &prompt, 6);
    assert_eq!(say(recall("r1", "longwire")).await, Outcome::Forbidden);
    assert!(
        !stored(&say(recall("r2", "visitor")).await).1,
        "it is the visitor's who answered it"
    );
}

fn change_of(decided: &Change) -> Entry {
    change(&format!("change-{}", decided.expects), decided, Position::START)
}

fn change(uid: &str, change: &Change, known: Position) -> Entry {
    Entry {
        kind: Kind::Membership.into(),
        uid: uid.into(),
        change: Some(ThreadChange::of(change, known)),
        ..text(uid, "longwire", 1, 5)
    }
}

#[tokio::test(start_paused = true)]
async fn of_changes_that_race_one_is_accepted_and_who_is_no_member_any_more_writes_nothing_after_it() {
    let world = World::new(1);
    let routing = world.routing(0);
    let (core, _edge) = world.edge();
    let say = async |entry: Entry| core.submit_and_wait(entry).await;
    let mut thread = Thread::default();
    let open = Step::Open {
        visitor: "visitor".into(),
        status: ThreadStatus::Chatting,
        agent: Some(("desk".into(), "agent".into())),
        since: Position::END,
    };
    let opened = thread.decide(open).unwrap();
    let (at, _) = stored(&say(change("open", &opened, Position::START)).await);
    thread.apply(at, &opened);
    assert!(
        stored(&say(change("open", &opened, Position::START)).await).1,
        "told again"
    );
    assert_eq!(
        say(change("open too", &opened, Position::START)).await,
        Outcome::Outdated
    );
    let by_agent = |uid: &str| Entry {
        author: "desk".into(),
        sender_role: Role::Agent.number(),
        ..text(uid, "agent", 3, 9)
    };
    assert!(!stored(&say(by_agent("before")).await).1);
    let closed = thread.decide(Step::Close).unwrap();
    // In one frame, the message of whoever is a member until then goes before or not at all.
    let (first, ended, second, visitor) = tokio::join!(
        say(change("close", &closed, Position::START)),
        say(by_agent("after")),
        say(change("close too", &closed, Position::START)),
        say(text("visitor's", "somebody", 1, 9)),
    );
    assert!(!stored(&first).1 && !stored(&visitor).1);
    assert_eq!((ended, second), (Outcome::Forbidden, Outcome::Outdated));
    assert!(
        stored(&say(by_agent("before")).await).1,
        "a resend is what it was"
    );
    let delivered = about(Kind::Receipt, "DELIVERED", "r", "agent", "visitor's", 9);
    assert!(!stored(&say(delivered).await).1, "it had got the message before");
    // What is never stored is not heard of it either.
    let typing = |uid: &str| Entry {
        kind: Kind::Transient.into(),
        r#type: "TYPING".into(),
        ..by_agent(uid)
    };
    let heard = world.listen(&core).await;
    core.send_transient(typing("former"));
    core.send_transient(Entry {
        author: "somebody".into(),
        sender: "somebody".into(),
        ..typing("visitor typing")
    });
    say(text("marker", "somebody", 1, 9)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let uids: Vec<_> = heard.lock().iter().map(|(.., uid)| uid.clone()).collect();
    assert_eq!(uids, ["visitor typing", "marker"]);
    // The next owner reads it in the log.
    routing.kill();
    let _next = world.routing(1);
    assert_eq!(say(by_agent("much later")).await, Outcome::Forbidden);
    assert_eq!(
        say(change("close three", &closed, Position::START)).await,
        Outcome::Outdated
    );
}
