//! What goes out: as every protocol has it, and over HTTP.

use std::time::Duration;

use super::{Item, Part};
use crate::envelope::{Draft, Heard, text};
use crate::http::{self, Answer};
use crate::record::AckKind;
use crate::target::any;

impl Part {
    /// Sends what is owed over HTTP until that fails too.
    pub(super) async fn fall_back(&mut self) {
        while self.outbox.waiting().is_some() {
            if !self.send_by_http().await {
                return;
            }
        }
    }

    /// Sends the next message over HTTP; whether there was an answer to go on after.
    pub(crate) async fn send_by_http(&mut self) -> bool {
        let Some(item) = self.outbox.waiting() else {
            return true;
        };
        let path = if self.token().is_agent {
            "/api/v1/message/rest/send"
        } else {
            "/visitor/api/v1/message/send"
        };
        let body = serde_json::json!({ "json": self.draft(&item).json().to_string(), "client": "WEB" });
        let at = any(&self.shared.target.http, &mut self.rng)
            .expect("there is one")
            .clone();
        self.took_off(item.key);
        let token = self.token().text.clone();
        let answer = http::post(&self.shared.target, &at, path, Some(&token), &body).await;
        match answer {
            Answer::Data(data) => {
                let stored = data.as_str().and_then(|text| Heard::json(text.as_bytes()));
                let position = stored.map_or(0, |stored| stored.position);
                self.acked(item.key, AckKind::Http, position);
                true
            }
            Answer::Status(status @ (408 | 429 | 500..), why) => {
                self.outbox.later(item.key, Duration::from_millis(300));
                self.ledger.lock().trouble = format!("HTTP {status}: {why}");
                false
            }
            Answer::Status(409, why) => {
                self.refused(item.key, &format!("conflict: {why}"));
                true
            }
            Answer::Status(status, why) => {
                self.refused(item.key, &format!("HTTP {status}: {why}"));
                true
            }
            Answer::Silence(why) => {
                self.outbox.later(item.key, Duration::from_millis(200));
                self.ledger.lock().trouble = why;
                false
            }
        }
    }

    /// The message that an item is, the same each time.
    pub(crate) fn draft(&self, item: &Item) -> Draft<'_> {
        let conversation = &self.shared.conversations[item.topic];
        let user = &self.shared.users[self.user];
        let uid = item.key.uid(&self.shared.run).expect("it is ours");
        let (kind, content) = match item.read {
            Some(of) => ("READ", of.uid(&self.shared.run).expect("ours are read only")),
            None => ("TEXT", text(&uid, self.shared.plan.size)),
        };
        Draft {
            uid,
            kind,
            content,
            written: item
                .key
                .is_dated()
                .then(|| self.shared.epoch + u64::from(item.at)),
            thread: &conversation.thread,
            author: if user.token.is_agent {
                &conversation.desk
            } else {
                &user.token.sub
            },
            by_agent: user.token.is_agent,
            org: &user.token.org,
        }
    }
}
