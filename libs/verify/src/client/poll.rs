//! A visitor without a socket: it sends over HTTP, and asks again and again what is new after what it has.

use std::time::Duration;

use tokio::time::Instant;

use super::{End, Part, Phase, Protocol};
use crate::envelope::Heard;
use crate::http;
use crate::target::any;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(400);

/// A page that polls.
pub(crate) struct Poll {
    /// By topic: everything up to here has been heard.
    cursors: Vec<(usize, u64)>,
    born: bool,
}

impl Poll {
    /// Begins after these positions.
    pub(crate) fn new(cursors: Vec<(usize, u64)>) -> Self {
        Self { cursors, born: false }
    }

    /// Asks for what is new in each conversation.
    async fn ask(&mut self, part: &mut Part) -> Result<(), String> {
        for (topic, cursor) in &mut self.cursors {
            let name = http::encode(&part.shared.conversations[*topic].thread.topic);
            let at = any(&part.shared.target.http, &mut part.rng)
                .expect("there is one")
                .clone();
            let token = part.token().text.clone();
            loop {
                let path = format!("/visitor/api/v1/messages?topic={name}&after={cursor}&limit=500");
                let page = http::get(&part.shared.target, &at, &path, Some(&token))
                    .await
                    .data()?;
                let content = page["content"].as_array().ok_or("a page without content")?;
                for heard in content.iter().filter_map(Heard::value) {
                    part.heard(&heard, false);
                }
                let next = page["next"].as_str().and_then(|next| next.parse().ok());
                *cursor = next.ok_or("a page without next")?;
                if page["more"] != true {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Protocol for Poll {
    async fn life(&mut self, part: &mut Part) -> End {
        if !self.born {
            // Polling has one life: a request that failed breaks no order.
            part.born();
            self.born = true;
        }
        let mut asked: Option<Instant> = None;
        let mut phase = part.phase.clone();
        loop {
            if part.phase() == Phase::Done {
                return End::Done;
            }
            if asked.is_none_or(|asked| asked.elapsed() >= PAUSE) {
                if let Err(why) = self.ask(part).await {
                    return End::Broken(why);
                }
                part.connected();
                asked = Some(Instant::now());
            }
            part.write_due();
            if part.outbox.waiting().is_some() {
                if !part.send_by_http().await {
                    return End::Broken(part.ledger.lock().trouble.clone());
                }
                continue;
            }
            let soon = Instant::now() + PAUSE;
            let wake = part.outbox.due().map_or(soon, |due| due.min(soon));
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                _ = phase.changed() => {}
            }
        }
    }
}
