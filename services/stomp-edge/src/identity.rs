//! Who a client is: its token's subject, the visitor it says it is, or nobody yet.

use std::sync::Arc;

use contract::ErrorKind;
use edge::Refusal;
use model::{ChatTopic, OrgId, Origin, Principal, Role, TopicName, UserId};
use stomp_codec::Frame;

use crate::service::Edge;

/// What the upgrade request said about the client.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// `access_token`.
    pub token: Option<String>,
    /// `org` or `orgUid`.
    pub org: Option<String>,
}

/// The identity of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// With an empty user until the first destination names the visitor.
    pub who: Arc<Principal>,
    /// Whether it will come back as the same: its subscriptions are kept.
    pub is_durable: bool,
}

impl Identity {
    /// From the CONNECT frame and the upgrade request.
    pub async fn of(edge: &Edge, connect: &Frame, query: &Query) -> Result<Self, Refusal> {
        let login = connect.get("login").unwrap_or_default();
        match token(connect, query) {
            Some(token) => by_token(edge, token, login).await,
            None => by_login(edge, connect, query, login).await,
        }
    }

    /// Whether it is known who it is.
    pub fn is_bound(&self) -> bool {
        !self.who.user.is_empty()
    }

    /// A client that did not say who it is becomes the visitor of the first thread it names, for good.
    pub async fn bind(&mut self, edge: &Edge, topic: &TopicName) -> Result<(), Refusal> {
        if self.is_bound() {
            return Ok(());
        }
        let visitor = ChatTopic::parse(topic).and_then(|t| t.visitor());
        let user = visitor.and_then(|v| UserId::checked(v).ok()).ok_or_else(|| {
            Refusal::forbidden(format!(
                "{topic} names no visitor; connect with login = the visitor's uid, or with a token"
            ))
        })?;
        let who = Principal {
            user,
            ..(*self.who).clone()
        };
        edge.core.proofs.admit(&who).await?;
        self.who = Arc::new(who);
        Ok(())
    }
}

fn token<'a>(connect: &'a Frame, query: &'a Query) -> Option<&'a str> {
    let bearer = connect
        .get("Authorization")
        .or_else(|| connect.get("authorization"))
        .map(|v| v.strip_prefix("Bearer ").unwrap_or(v).trim());
    let passcode = connect.get("passcode");
    let said = [passcode, bearer, query.token.as_deref()];
    said.into_iter().flatten().find(|t| !t.is_empty())
}

async fn by_token(edge: &Edge, token: &str, login: &str) -> Result<Identity, Refusal> {
    let who = edge
        .core
        .verifier
        .verify_or_refresh(token)
        .await
        .map_err(|e| Refusal::new(ErrorKind::Unauthorized, e.to_string()))?;
    if !login.is_empty() && login != who.user.as_str() {
        return Err(Refusal::new(
            ErrorKind::Unauthorized,
            "login is not the subject of the token; leave login empty or send the token's own sub",
        ));
    }
    edge.core.proofs.admit(&who).await?;
    Ok(Identity {
        who: Arc::new(who),
        is_durable: true,
    })
}

async fn by_login(edge: &Edge, connect: &Frame, query: &Query, login: &str) -> Result<Identity, Refusal> {
    let unauthorized = |detail: &str| Refusal::new(ErrorKind::Unauthorized, detail);
    if !edge.auth.anonymous_visitors.unwrap_or(false) {
        return Err(unauthorized(
            "this server wants a token: send it as passcode, as Authorization: Bearer, or as access_token in the address",
        ));
    }
    let org = connect.get("org").or_else(|| connect.get("orgUid"));
    let org = org.or(query.org.as_deref()).unwrap_or(&edge.auth.default_org);
    let org = OrgId::checked(org).map_err(|e| unauthorized(&format!("org is no id: {e}")))?;
    let user = match login {
        "" => UserId::default(),
        login => UserId::checked(login).map_err(|e| unauthorized(&format!("login is no id: {e}")))?,
    };
    let who = Principal::new(org, user, Role::Visitor, Origin::AnonymousVisitor);
    edge.core.proofs.admit(&who).await?;
    Ok(Identity {
        is_durable: !who.user.is_empty(),
        who: Arc::new(who),
    })
}
