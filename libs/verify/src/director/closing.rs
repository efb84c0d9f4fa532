//! Agents close conversations whose visitors go on writing.

use std::sync::atomic::Ordering::Relaxed;

use rand::seq::IteratorRandom as _;
use serde_json::json;

use super::Desk;
use crate::history;
use crate::record::Asked;

/// Closes one after the other, whichever it is, as long as there is writing.
pub(super) async fn run(mut desks: Vec<Desk>) {
    let every = desks[0].shared.plan.changes.close_every;
    while desks[0].pause(every).await {
        let mut rng = desks[0].rng.clone();
        if let Some(desk) = desks.iter_mut().choose(&mut rng) {
            // What cannot be looked at now is closed another time.
            let _unknown = desk.close().await;
        }
        desks[0].rng = rng;
    }
}

impl Desk {
    /// Closes it if it is open for sure: only then there has to be an entry of it.
    async fn close(&mut self) -> Result<(), String> {
        self.look().await?;
        // The closing before has to be seen: a store that was set back tells again what was so before it.
        let is_known = self.ends_then.is_none_or(|then| self.ends > then);
        if !is_known || !self.goes_on || !history::is_open(&self.shared, self.topic).await? {
            return Ok(());
        }
        self.ends_then = Some(self.ends);
        let conversation = &self.shared.conversations[self.topic];
        let (agent, body) = (conversation.agent, json!({ "topic": conversation.thread.topic }));
        let number = {
            let mut diary = self.diary.lock();
            diary.closings.push(Asked {
                topic: self.topic,
                at: self.shared.now(),
                after: self.upto,
                ..Asked::default()
            });
            diary.closings.len() - 1
        };
        let answer = self
            .ask(agent, "/api/v1/thread/close", &body, |diary| {
                diary.closings[number].tries += 1;
            })
            .await;
        let asked = &mut self.diary.lock().closings[number];
        match answer {
            Ok(()) => {
                asked.acked = Some(self.shared.now());
                self.shared.counts.closings.fetch_add(1, Relaxed);
            }
            Err(why) => asked.refused = Some(why),
        }
        Ok(())
    }
}
