//! Two agents hand a conversation over to each other, as deployed clients do it: by messages on their colleague thread.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::Desk;
use crate::envelope::{Draft, Thread};
use crate::record::Asked;

const SEND: &str = "/api/v1/message/rest/send";

/// One who takes part in a transfer: a user, and the uid that it acts under.
type Side = (usize, String);

/// Hands it over again and again, as long as there is writing.
pub(super) async fn run(mut desk: Desk) {
    let every = desk.shared.plan.changes.hand_over_every;
    let (mut number, mut changed) = (0, false);
    while desk.pause(every).await {
        number += 1;
        let done = desk.hand_over(number).await;
        changed |= done.is_ok();
        let topic = desk.shared.conversations[desk.topic].thread.topic.clone();
        let mut diary = desk.diary.lock();
        diary.trouble.retain(|(of, _)| *of != topic);
        if let (Err(why), false) = (done, changed) {
            diary.trouble.push((topic, why));
        }
    }
}

impl Desk {
    /// Offers it, and takes it. What is refused was offered on something that is not so any more: it is looked at again.
    async fn hand_over(&mut self, number: usize) -> Result<(), String> {
        self.look().await?;
        let holder = self.stretches.holder().ok_or("nobody has it")?;
        let sides = self.sides();
        let (from, to) = (&sides[holder], &sides[1 - holder]);
        let about = |more: Value| {
            let mut content =
                json!({ "thread": { "topic": self.shared.conversations[self.topic].thread.topic } });
            if !more.is_null() {
                content["uid"] = more;
            }
            content.to_string()
        };
        let offer = format!("{}-{}-offer{number}", self.shared.run, self.topic);
        let accept = format!("{}-{}-accept{number}", self.shared.run, self.topic);
        let offering = self.message("TRANSFER", &offer, from, to, about(Value::Null));
        let accepting = self.message("TRANSFER_ACCEPT", &accept, to, from, about(offer.into()));
        let begun = self.shared.now();
        self.ask(from.0, SEND, &offering, |_| {}).await?;
        let number = {
            let mut diary = self.diary.lock();
            diary.transfers.push(Asked {
                topic: self.topic,
                at: begun,
                after: self.upto,
                ..Asked::default()
            });
            diary.transfers.len() - 1
        };
        let answer = self
            .ask(to.0, SEND, &accepting, |diary| diary.transfers[number].tries += 1)
            .await;
        let asked = &mut self.diary.lock().transfers[number];
        match &answer {
            Ok(()) => {
                asked.acked = Some(self.shared.now());
                self.shared.counts.transfers.fetch_add(1, Relaxed);
            }
            Err(why) => asked.refused = Some(why.clone()),
        }
        answer
    }

    /// The two, that of the desk first.
    fn sides(&self) -> [Side; 2] {
        let conversation = &self.shared.conversations[self.topic];
        let pair = conversation.pair.as_ref().expect("what is handed over has two");
        [
            (conversation.agent, conversation.desk.clone()),
            (pair.agent, pair.desk.clone()),
        ]
    }

    /// The body of a message from one to the other.
    fn message(&self, kind: &'static str, uid: &str, from: &Side, to: &Side, content: String) -> Value {
        let draft = Draft {
            uid: uid.to_owned(),
            kind,
            content,
            written: Some(self.shared.epoch + u64::from(self.shared.now())),
            thread: &Thread {
                uid: String::new(),
                topic: format!("org/member/{}/{}", from.1, to.1),
                kind: "MEMBER".to_owned(),
                visitor: to.1.clone(),
            },
            author: &from.1,
            by_agent: true,
            org: &self.shared.users[from.0].token.org,
        };
        json!({ "json": draft.json().to_string(), "client": "WEB" })
    }
}
