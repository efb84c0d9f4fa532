#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use contract::ErrorKind;
use model::{ClientId, OrgId, UserId};
use tokio::sync::mpsc;

use super::*;

/// A write that the test answers when it likes.
struct Asked {
    saves: Vec<SaveSession>,
    answer: oneshot::Sender<Result<Vec<bool>, RpcError>>,
}

impl Asked {
    fn states(&self) -> Vec<&[u8]> {
        self.saves.iter().map(|s| &s.state[..]).collect()
    }

    fn succeed(self) {
        let kept = vec![true; self.saves.len()];
        assert!(self.answer.send(Ok(kept)).is_ok());
    }

    fn fail(self) {
        let error = RpcError::new(ErrorKind::Unavailable, "away");
        assert!(self.answer.send(Err(error)).is_ok());
    }
}

struct World {
    saver: Arc<Saver>,
    asked: mpsc::UnboundedReceiver<Asked>,
    mailbox: Arc<Mailbox>,
}

const INTERVAL: Duration = Duration::from_secs(1);

impl World {
    fn new() -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        let write = move |saves| {
            let (answer, answered) = oneshot::channel();
            assert!(ask.send(Asked { saves, answer }).is_ok());
            let write: BoxFuture<'static, _> = Box::pin(async move { answered.await.unwrap() });
            write
        };
        let saver = Saver::over(Box::new(write), INTERVAL);
        tokio::spawn(saver.clone().run());
        Self {
            saver,
            asked,
            mailbox: Mailbox::new(1, 1),
        }
    }

    fn save(&self, key: &str, epoch: u64, state: &'static str) {
        self.saver.save(session(key), epoch, state.into(), &self.mailbox);
    }

    /// Has been polled once: the state is handed in.
    async fn store(&self, key: &'static str, state: &'static str) -> tokio::task::JoinHandle<Option<bool>> {
        let (saver, mailbox) = (self.saver.clone(), self.mailbox.clone());
        let task = tokio::spawn(async move { saver.store(session(key), 1, state.into(), &mailbox).await });
        tokio::task::yield_now().await;
        task
    }

    async fn asked(&mut self) -> Asked {
        self.asked.recv().await.unwrap()
    }
}

fn session(client: &str) -> SessionKey {
    SessionKey {
        org: OrgId::new("o"),
        user: UserId::new("u"),
        client: ClientId::new(client),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_promised_is_not_overwritten_by_a_write_that_began_before() {
    let mut world = World::new();
    world.save("a", 1, "old");
    let old = world.asked().await;
    let promised = world.store("a", "promised").await;
    assert!(
        world.asked.try_recv().is_err(),
        "two writes of a session at a time"
    );
    old.fail();
    let next = world.asked().await;
    assert_eq!(
        next.states(),
        [b"promised"],
        "a failed write came back over a later one"
    );
    next.succeed();
    assert_eq!(promised.await.unwrap(), Some(true));
    tokio::time::sleep(10 * INTERVAL).await;
    assert!(world.asked.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn forgetting_waits_for_the_write_under_way_and_ends_its_repetition() {
    let mut world = World::new();
    world.save("a", 1, "old");
    let write = world.asked().await;
    world.save("a", 1, "older than the last");
    let saver = world.saver.clone();
    let forgotten = tokio::spawn(async move { saver.forget(&session("a"), 1).await });
    tokio::time::sleep(10 * INTERVAL).await;
    assert!(!forgotten.is_finished());
    write.fail();
    forgotten.await.unwrap();
    tokio::time::sleep(10 * INTERVAL).await;
    assert!(world.asked.try_recv().is_err(), "a forgotten session is written");
}

#[tokio::test(start_paused = true)]
async fn forgetting_leaves_what_a_later_holder_has_handed_in() {
    let mut world = World::new();
    world.save("a", 2, "later");
    world.saver.forget(&session("a"), 1).await;
    let write = world.asked().await;
    world.saver.forget(&session("a"), 1).await;
    assert_eq!(write.states(), [b"later"]);
    world.save("b", 2, "later");
    world.save("b", 1, "former");
    let mut mail = Vec::new();
    assert!(world.mailbox.try_take(&mut mail) && matches!(mail[..], [Mail::TakenOver(_)]));
    write.succeed();
    assert_eq!(world.asked().await.states(), [b"later"]);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_at_the_same_time_share_a_write_and_wait_for_nobody_else() {
    let mut world = World::new();
    world.save("a", 1, "so that what is not urgent has to wait for the interval");
    world.asked().await.succeed();
    let first = world.store("a", "1").await;
    let write = world.asked().await;
    let mut others = Vec::new();
    for key in ["b", "c", "d"] {
        others.push(world.store(key, "2").await);
    }
    world.save("e", 1, "not urgent");
    world.save("b", 1, "3");
    write.succeed();
    assert_eq!(first.await.unwrap(), Some(true));
    let write = world.asked().await;
    let mut states = write.states();
    states.sort_unstable();
    assert_eq!(states, [b"2", b"2", b"3"]);
    assert!(write.answer.send(Ok(vec![false; 3])).is_ok());
    for other in others {
        assert_eq!(other.await.unwrap(), Some(false));
    }
    let last = world.asked().await;
    assert_eq!(last.states(), [b"not urgent"]);
    last.succeed();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_says_nothing_and_the_state_is_written_later() {
    let mut world = World::new();
    let waiting = world.store("a", "1").await;
    world.asked().await.fail();
    assert_eq!(waiting.await.unwrap(), None);
    let again = world.asked().await;
    assert_eq!(again.states(), [b"1"]);
    again.succeed();
}

#[tokio::test(start_paused = true)]
async fn many_sessions_are_written_in_bounded_parts_once_each() {
    let mut world = World::new();
    let keys: Vec<String> = (0..BATCH + 1).map(|i| i.to_string()).collect();
    keys.iter().for_each(|key| world.save(key, 1, "s"));
    let first = world.asked().await;
    assert_eq!(first.saves.len(), BATCH);
    let of_first = first.saves[0].key.clone();
    world.saver.save(of_first, 1, "again".into(), &world.mailbox);
    first.succeed();
    let second = world.asked().await;
    assert_eq!(second.states(), [b"s"]);
    second.succeed();
    assert_eq!(world.asked().await.states(), [b"again"]);
}
