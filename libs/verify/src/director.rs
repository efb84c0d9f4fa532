//! Closes conversations and hands them over while they go on, as agents do: by calls and by messages over HTTP.

mod closing;
mod handing;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Phase, Shared};
use crate::history;
use crate::http::{self, Answer};
use crate::record::{Asked, Says};
use crate::stretches::Stretches;
use crate::target::any;

/// How soon what was not answered is asked for again.
const AGAIN: Duration = Duration::from_millis(250);

/// What the directors have asked for.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    pub(crate) closings: Vec<Asked>,
    pub(crate) transfers: Vec<Asked>,
    /// Conversations that were to be handed over, and what was said last when they could not be.
    trouble: Vec<(String, String)>,
}

impl Diary {
    /// What was tried, and proves nothing: conversations that nobody could hand over, not once.
    pub(crate) fn in_vain(&self) -> Vec<String> {
        let told = |(topic, why): &(String, String)| format!("{topic} could not be handed over: {why}");
        self.trouble.iter().map(told).collect()
    }
}

/// Sets everybody to work; they end with [`Phase::Writing`], when what they have begun is answered.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    baselines: &[u64],
    diary: &Arc<Mutex<Diary>>,
    tasks: &mut JoinSet<()>,
) {
    let conversations = shared.conversations.iter().enumerate();
    let mut closed = Vec::new();
    for (topic, conversation) in conversations.filter(|(_, c)| c.has_life) {
        let desk = || Desk::new(shared, topic, baselines[topic], diary);
        if conversation.pair.is_some() {
            tasks.spawn(handing::run(desk()));
        }
        closed.push(desk());
    }
    if !closed.is_empty() && !shared.plan.changes.close_every.is_zero() {
        tasks.spawn(closing::run(closed));
    }
}

/// One conversation, as whoever directs it knows it.
struct Desk {
    shared: Arc<Shared>,
    diary: Arc<Mutex<Diary>>,
    topic: usize,
    rng: StdRng,
    phase: watch::Receiver<Phase>,
    /// Everything up to here is known.
    upto: u64,
    stretches: Stretches,
    /// How often it was closed, and how often when this was asked for last.
    ends: usize,
    ends_then: Option<usize>,
    /// Whether somebody has spoken since it was closed last.
    goes_on: bool,
}

impl Desk {
    fn new(shared: &Arc<Shared>, topic: usize, baseline: u64, diary: &Arc<Mutex<Diary>>) -> Self {
        let handed = shared.conversations[topic].handed();
        let seed = shared.plan.seed.wrapping_mul(1_000_033);
        Self {
            shared: shared.clone(),
            diary: diary.clone(),
            topic,
            rng: StdRng::seed_from_u64(seed.wrapping_add(topic as u64)),
            phase: shared.phase.subscribe(),
            upto: baseline,
            stretches: Stretches::new(handed.map_or(0, |handed| handed.first)),
            ends: 0,
            ends_then: None,
            goes_on: true,
        }
    }

    /// Reads on in the history.
    async fn look(&mut self) -> Result<(), String> {
        let reader = self.shared.reader(self.topic);
        for message in history::messages(&self.shared, reader, self.topic, self.upto).await? {
            let (says, speaks) = (Says::of(&message.kind), model::is_countable(&message.kind));
            self.stretches.take(message.position, says, speaks);
            self.ends += usize::from(says.is_end());
            self.goes_on = speaks || self.goes_on && !says.is_end();
            self.upto = self.upto.max(message.position);
        }
        Ok(())
    }

    /// Waits so long on average; whether it goes on then.
    async fn pause(&mut self, time: Duration) -> bool {
        let time = time.mul_f64(self.rng.random_range(0.5..1.5));
        let over = self.phase.wait_for(|phase| *phase > Phase::Writing);
        tokio::time::timeout(time, over).await.is_err()
    }

    /// Asks until there is an answer that says more than to ask again; `tried` is told of every time.
    async fn ask(
        &mut self,
        user: usize,
        path: &str,
        body: &Value,
        mut tried: impl FnMut(&mut Diary),
    ) -> Result<(), String> {
        loop {
            let shared = self.shared.clone();
            let at = any(&shared.target.http, &mut self.rng).expect("there is one");
            let token = &shared.users[user].token.text;
            tried(&mut self.diary.lock());
            match http::post(&shared.target, at, path, Some(token), body).await {
                Answer::Data(_) => return Ok(()),
                Answer::Silence(_) | Answer::Status(408 | 429 | 500.., _) => {}
                Answer::Status(status, why) => return Err(format!("HTTP {status}: {why}")),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
