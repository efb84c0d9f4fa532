//! What was said in a conversation: by page number, as deployed clients ask, and by position.

use std::sync::Arc;

use axum::extract::State;
use contract::persistence::{HistoryEntry, HistoryRange, HistoryRequest};
use edge::delivery::Delivery;
use model::thread::Membership;
use model::{Access, ChatTopic, Position, Principal, ReceiptKind, TopicName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::body::QueryOf;
use crate::identity::{Claim, Holder, Presented};
use crate::openapi::MessageJson;
use crate::page::{Page, PageQuery, Range, RangeQuery};
use crate::reply::{Answer, Envelope, Problem, Reply, value};

/// Which conversation, and, for visitors without a token, who asks.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct TopicQuery {
    /// The conversation: `thread.topic`.
    #[param(required = true, example = "org/agent/df_ag_uid/1418711693000834")]
    pub topic: String,
    /// The visitor that asks, if it has no token; when empty, the one that the topic names.
    #[param(required = false)]
    pub uid: String,
    /// Its organisation.
    #[param(required = false)]
    pub org_uid: String,
}

impl TopicQuery {
    fn claim(&self) -> Claim<'_> {
        Claim {
            org: &self.org_uid,
            uid: &self.uid,
            topic: &self.topic,
        }
    }
}

/// A page of a conversation, the newest message first, as a visitor.
#[utoipa::path(get, path = "/visitor/api/v1/message/thread/topic", tag = "messages", params(TopicQuery, PageQuery),
    responses((status = 200, description = "A page of messages", body = Envelope<Page<MessageJson>>)))]
pub(crate) async fn page_by_visitor(
    State(app): State<Arc<App>>,
    presented: Presented,
    QueryOf(topic): QueryOf<TopicQuery>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Page<Value>> {
    let who = presented.visitor(&app, topic.claim()).await?;
    numbered(&app, &who, &topic.topic, &page).await
}

/// A page of a conversation, the newest message first.
#[utoipa::path(get, path = "/api/v1/message/query/topic", tag = "messages", params(TopicQuery, PageQuery),
    responses((status = 200, description = "A page of messages", body = Envelope<Page<MessageJson>>)))]
pub(crate) async fn page_by_holder(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    QueryOf(topic): QueryOf<TopicQuery>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Page<Value>> {
    numbered(&app, &who, &topic.topic, &page).await
}

async fn numbered(app: &App, who: &Principal, topic: &str, page: &PageQuery) -> Answer<Page<Value>> {
    let (number, size) = page.bounded(app.config.max_page)?;
    let topic = app.readable(who, topic).await?;
    let range = HistoryRange::Page { number, size };
    let request = HistoryRequest {
        org: who.org.clone(),
        topic: topic.clone(),
        range,
    };
    let found = app.core.persistence.history(request).await?;
    let seen = Seen::of(app, who, &topic).await?;
    let newest_first = found.entries.into_iter().rev().filter(|entry| seen.covers(entry));
    let content = newest_first.filter_map(|entry| shown(app, who, entry)).collect();
    Ok(Reply::new(Page::new(content, number, size, found.total)))
}

/// A stretch of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stretch {
    /// The oldest first.
    #[schema(value_type = Vec<MessageJson>)]
    pub content: Vec<Value>,
    /// Where to go on: the next `after`, or, of a stretch that was asked for with `before` or neither, the next `before`.
    #[schema(example = "131072")]
    pub next: String,
    /// Everything up to here is included or older: subscribe from here (`longwire-after`) and nothing is missed.
    #[schema(example = "131072")]
    pub head: String,
    /// Whether there is more in the direction that was asked for.
    pub more: bool,
}

/// Messages after or before a position, as a visitor.
#[utoipa::path(get, path = "/visitor/api/v1/messages", tag = "messages", params(TopicQuery, RangeQuery),
    responses((status = 200, description = "Messages, the oldest first", body = Envelope<Stretch>)))]
pub(crate) async fn stretch_by_visitor(
    State(app): State<Arc<App>>,
    presented: Presented,
    QueryOf(topic): QueryOf<TopicQuery>,
    QueryOf(range): QueryOf<RangeQuery>,
) -> Answer<Stretch> {
    let who = presented.visitor(&app, topic.claim()).await?;
    stretch(&app, &who, &topic.topic, &range).await
}

/// Messages after or before a position.
#[utoipa::path(get, path = "/api/v1/messages", tag = "messages", params(TopicQuery, RangeQuery),
    responses((status = 200, description = "Messages, the oldest first", body = Envelope<Stretch>)))]
pub(crate) async fn stretch_by_holder(
    State(app): State<Arc<App>>,
    Holder(who): Holder,
    QueryOf(topic): QueryOf<TopicQuery>,
    QueryOf(range): QueryOf<RangeQuery>,
) -> Answer<Stretch> {
    stretch(&app, &who, &topic.topic, &range).await
}

async fn stretch(app: &App, who: &Principal, topic: &str, query: &RangeQuery) -> Answer<Stretch> {
    let (direction, limit) = query.read()?;
    let topic = app.readable(who, topic).await?;
    let range = match direction {
        Range::After(position) => HistoryRange::After { position, limit },
        Range::Before(position) => HistoryRange::Before { position, limit },
    };
    let request = HistoryRequest {
        org: who.org.clone(),
        topic: topic.clone(),
        range,
    };
    let found = app.core.persistence.history(request).await?;
    let seen = Seen::of(app, who, &topic).await?;
    // By what was found, not by what may be shown: otherwise a stretch of hidden messages would be an end.
    let ends = (
        found.entries.first().map(|e| e.position),
        found.entries.last().map(|e| e.position),
    );
    let next = next(direction, ends, found.head, found.more);
    let content = found
        .entries
        .into_iter()
        .filter(|entry| seen.covers(entry))
        .filter_map(|entry| shown(app, who, entry))
        .collect();
    let (next, head, more) = (next.to_string(), found.head.to_string(), found.more);
    Ok(Reply::new(Stretch {
        content,
        next,
        head,
        more,
    }))
}

/// Which places of a conversation somebody sees: the union of its memberships, where it has any.
struct Seen(Vec<Membership>);

impl Seen {
    /// To be asked after the messages were read: a membership that ended before is known to have ended then.
    async fn of(app: &App, who: &Principal, topic: &TopicName) -> Result<Self, Problem> {
        let parsed = ChatTopic::parse(topic);
        if parsed.is_none_or(|t| Access::by_topic(who, &t).is_decided()) {
            return Ok(Self(Vec::new()));
        }
        let thread = TopicName::trusted(ChatTopic::thread(topic));
        let members = app
            .core
            .persistence
            .members(&who.org, &thread, Position::START)
            .await?;
        Ok(Self(members.of(|uid| who.acts_as(uid)).cloned().collect()))
    }

    fn covers(&self, entry: &HistoryEntry) -> bool {
        self.0.is_empty() || self.0.iter().any(|m| m.covers(entry.position))
    }
}

fn next(
    asked: Range,
    (first, last): (Option<Position>, Option<Position>),
    head: Position,
    more: bool,
) -> Position {
    match asked {
        Range::After(after) if more => last.unwrap_or(after),
        Range::After(after) => last.unwrap_or(after).max(head).max(after),
        Range::Before(before) => first.unwrap_or(before.min(Position(head.0.saturating_add(1)))),
    }
}

/// A message as `who` sees it: with how far it came, without its content if it was taken back; nothing if its role may
/// not see it.
pub(crate) fn shown(app: &App, who: &Principal, found: HistoryEntry) -> Option<Value> {
    let entry = match wire::frame::decode_entry(found.entry) {
        Ok(entry) => entry,
        Err(error) => {
            tracing::error!(%error, position = %found.position, "history holds an entry that cannot be read");
            return None;
        }
    };
    let partition = entry.partition(app.core.partitioning);
    let delivery = Delivery::new(partition, found.position, found.prev, entry);
    if !delivery.is_chat() || !delivery.is_visible_to(who) {
        return None;
    }
    let mut message = value(&delivery.json(who).1);
    if found.recalled {
        message["status"] = "RECALL".into();
        message["content"] = "".into();
        message.as_object_mut()?.remove("extra");
    } else if let Some(status) = further(message["status"].as_str().unwrap_or_default(), found.state) {
        message["status"] = status.into();
    }
    Some(message)
}

/// The status that a receipt gives a message, if that is further than its own: some are born READ.
fn further(status: &str, state: Option<ReceiptKind>) -> Option<&'static str> {
    let state = state?;
    let own = match status {
        "READ" => Some(ReceiptKind::Read),
        "DELIVERED" => Some(ReceiptKind::Delivered),
        _ => None,
    };
    (own < Some(state)).then(|| state.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_only_goes_forward() {
        use ReceiptKind::{Delivered, Read};
        assert_eq!(further("SUCCESS", None), None);
        assert_eq!(further("SUCCESS", Some(Delivered)), Some("DELIVERED"));
        assert_eq!(further("SUCCESS", Some(Read)), Some("READ"));
        assert_eq!(further("READ", Some(Delivered)), None);
        assert_eq!(further("DELIVERED", Some(Read)), Some("READ"));
    }

    #[test]
    fn the_next_stretch_begins_where_this_one_ends() {
        let ends = (Some(Position(5)), Some(Position(9)));
        assert_eq!(
            next(Range::After(Position(4)), ends, Position(9), true),
            Position(9)
        );
        assert_eq!(
            next(Range::After(Position(4)), ends, Position(70), false),
            Position(70)
        );
        assert_eq!(
            next(Range::After(Position(80)), (None, None), Position(70), false),
            Position(80)
        );
        assert_eq!(
            next(Range::Before(Position(10)), ends, Position(9), true),
            Position(5)
        );
        assert_eq!(
            next(Range::Before(Position(3)), (None, None), Position(9), false),
            Position(3)
        );
        assert_eq!(
            next(Range::Before(Position::END), (None, None), Position(9), false),
            Position(10)
        );
    }
}
