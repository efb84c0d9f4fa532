//! What the installation itself says: histories, statuses, counters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use crate::client::Shared;
use crate::envelope::{Heard, text};
use crate::http;
use crate::key::{Key, Names};
use crate::record::{History, Says, Stage, StatusSeen, Stored};

/// Between two looks at the statuses.
const PAUSE: Duration = Duration::from_millis(700);
/// How often a question is asked until its answer counts as none.
const ATTEMPTS: usize = 8;

/// Asks one of the addresses, several times if need be.
async fn ask(shared: &Shared, user: usize, path: &str) -> Result<Value, String> {
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        let at = &shared.target.http[attempt % shared.target.http.len()];
        let token = &shared.users[user].token.text;
        match http::get(&shared.target, at, path, Some(token)).await.data() {
            Ok(data) => return Ok(data),
            Err(why) => last = format!("{path}: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(last)
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or(value.as_u64()).unwrap_or_default()
}

fn path(shared: &Shared, user: usize, what: &str, topic: usize) -> String {
    let base = if shared.users[user].token.is_agent {
        "/api/v1"
    } else {
        "/visitor/api/v1"
    };
    let topic = http::encode(&shared.conversations[topic].thread.topic);
    format!("{base}/{what}?topic={topic}")
}

/// Up to where a conversation has come.
pub(crate) async fn head(shared: &Shared, topic: usize) -> Result<u64, String> {
    let reader = shared.reader(topic);
    let query = path(shared, reader, "messages", topic) + "&limit=1";
    let page = ask(shared, reader, &query).await?;
    Ok(number(&page["head"]))
}

/// How many messages a user has not read in a conversation.
pub(crate) async fn unread(shared: &Shared, user: usize, topic: usize) -> Result<u64, String> {
    ask(shared, user, &path(shared, user, "message/unread/count", topic))
        .await
        .map(|count| number(&count))
}

/// Whether a conversation is open, as its visitor's list has it. The list is the same for whoever takes part.
pub(crate) async fn is_open(shared: &Shared, topic: usize) -> Result<bool, String> {
    let conversation = &shared.conversations[topic];
    for page in 0.. {
        let query = format!("/api/v1/thread/query?pageNumber={page}&pageSize=100");
        let page = ask(shared, conversation.visitor, &query).await?;
        let threads = page["content"].as_array().ok_or("a page without content")?;
        let own = threads
            .iter()
            .find(|thread| thread["topic"] == conversation.thread.topic.as_str());
        if let Some(own) = own {
            return Ok(own["status"] != "CLOSED");
        }
        if threads.is_empty() {
            break;
        }
    }
    Err(format!("{} is in no list", conversation.thread.topic))
}

/// A history after a position, as a user reads it.
pub(crate) async fn read(
    shared: &Shared,
    names: &mut Names,
    reader: usize,
    topic: usize,
    after: u64,
) -> Result<History, String> {
    let heard = messages(shared, reader, topic, after).await?;
    let messages = heard.iter();
    let messages = messages
        .map(|message| judge(shared, names, topic, message))
        .collect();
    Ok(History { reader, messages })
}

/// The messages of a conversation after a position, as a user reads them.
pub(crate) async fn messages(
    shared: &Shared,
    reader: usize,
    topic: usize,
    after: u64,
) -> Result<Vec<Heard>, String> {
    let (mut messages, mut after) = (Vec::new(), after);
    loop {
        let query = format!(
            "{}&after={after}&limit=500",
            path(shared, reader, "messages", topic)
        );
        let page = ask(shared, reader, &query).await?;
        let content = page["content"].as_array().ok_or("a page without content")?;
        messages.extend(content.iter().filter_map(Heard::value));
        if page["more"] != true {
            return Ok(messages);
        }
        let next = number(&page["next"]);
        if next <= after {
            return Err(format!("{query}: there is more, and next is {next}"));
        }
        after = next;
    }
}

fn judge(shared: &Shared, names: &mut Names, topic: usize, message: &Heard) -> Stored {
    let key = names.key(&message.uid);
    let conversation = &shared.conversations[topic];
    let is = |user: usize| shared.users[user].is(&message.author);
    let author = [conversation.agent, conversation.visitor]
        .into_iter()
        .find(|user| is(*user));
    let intact = key.as_text().is_none()
        || (author.is_some() && message.content == text(&message.uid, shared.plan.size));
    Stored {
        key,
        position: message.position,
        says: Says::of(&message.kind),
        stage: Stage::of(&message.status),
        countable: model::is_countable(&message.kind) && message.status != "RECALL",
        intact,
        author,
    }
}

/// Looks at the statuses of the newest messages again and again, one question after the other.
pub(crate) async fn watch(shared: Arc<Shared>, seen: Arc<Mutex<Vec<StatusSeen>>>) {
    let mut names = Names::new(&shared.run);
    let mut known: HashMap<Key, Stage> = HashMap::new();
    loop {
        for topic in 0..shared.conversations.len() {
            let reader = shared.reader(topic);
            let at = &shared.target.http[topic % shared.target.http.len()];
            let query = path(&shared, reader, "messages", topic) + "&limit=100";
            let token = &shared.users[reader].token.text;
            let Ok(page) = http::get(&shared.target, at, &query, Some(token)).await.data() else {
                continue;
            };
            let messages = page["content"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Heard::value);
            for message in messages {
                let key = names.key(&message.uid);
                let stage = Stage::of(&message.status);
                if key.as_text().is_some() && known.insert(key, stage) != Some(stage) {
                    let at = shared.now();
                    seen.lock().push(StatusSeen { key, stage, at });
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
