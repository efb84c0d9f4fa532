//! What every call has at hand.

use std::net::IpAddr;
use std::sync::Arc;

use auth::Signer;
use contract::receipts::Receipts;
use edge::Core;
use jiff::tz::TimeZone;
use model::{ChatTopic, OrgId, Origin, Principal, TopicName, UnixMillis, UserId, format_created_at};
use runtime::lifecycle::Stop;

use crate::Config;
use crate::metrics::Metrics;
use crate::rates::Rates;
use crate::reply::Problem;

/// The gateway's parts.
pub(crate) struct App {
    pub config: Config,
    pub core: Arc<Core>,
    pub receipts: Arc<dyn Receipts>,
    pub signer: Option<Arc<Signer>>,
    pub default_org: OrgId,
    pub anonymous_visitors: bool,
    pub zone: TimeZone,
    pub stop: Stop,
    pub metrics: Metrics,
    pub users: Rates<(OrgId, UserId)>,
    pub addresses: Rates<IpAddr>,
}

impl App {
    /// The topic that a principal names in order to read it, in its canonical form.
    pub async fn readable(&self, who: &Principal, topic: &str) -> Result<TopicName, Problem> {
        let named = TopicName::new(topic).map_err(|e| Problem::invalid(format!("topic: {e}")))?;
        let Some(parsed) = ChatTopic::parse(&named) else {
            return Err(Problem::invalid(format!(
                "topic {named:?} is not that of a conversation; take thread.topic of one, such as org/agent/AGENT/VISITOR"
            )));
        };
        // An anonymous visitor's uid is what it says it is: it reads conversations, and no topic of a user's own.
        if who.origin == Origin::AnonymousVisitor && parsed.visitor() != Some(&who.user) {
            return Err(Problem::forbidden(format!(
                "{} may not read {named} without a token; send one, or ask for a conversation of its own",
                who.user
            )));
        }
        let canonical = ChatTopic::canonical(&named);
        if !self.core.gate.chat_access(who, &canonical).await?.may_read() {
            return Err(Problem::forbidden(format!("{} may not read {named}", who.user)));
        }
        Ok(canonical)
    }

    /// A time as deployed clients read it.
    pub fn time(&self, at: UnixMillis) -> String {
        format_created_at(at, &self.zone)
    }

    /// Lets a user's request through, or says how long to wait.
    pub fn pace(&self, who: &Principal) -> Result<(), Problem> {
        let key = || (who.org.clone(), who.user.clone());
        self.users
            .take(key, self.core.clock.monotonic())
            .map_err(Problem::too_fast)
    }
}
