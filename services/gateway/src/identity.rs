//! Who makes a request. Nothing that a request says about itself is believed, but by a token; or, where visitors need
//! none, as far as an anonymous visitor may do anything at all.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use http::header::AUTHORIZATION;
use model::{ChatTopic, OrgId, Origin, Principal, Role, UserId};

use crate::app::App;
use crate::reply::Problem;

/// The holder of a token: who makes a call under `/api`.
pub(crate) struct Holder(pub Principal);

impl FromRequestParts<Arc<App>> for Holder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Some(token) = bearer(parts)? else {
            return Err(Problem::unauthorized(
                "no token; send it as Authorization: Bearer TOKEN",
            ));
        };
        let who = app.core.verifier.verify_or_refresh(&token).await?;
        if !who.is_proven() {
            return Err(Problem::forbidden(
                "this token was given for a uid that nobody proved, and is good for /visitor/ only; send one that proves who you are",
            ));
        }
        app.core.proofs.admit(&who).await?;
        app.pace(&who)?;
        Ok(Holder(who))
    }
}

/// The token of a call under `/visitor`, if it has one; a bad one is refused, not ignored.
pub(crate) struct Presented {
    /// Whose it is.
    pub who: Option<Principal>,
    /// The token itself.
    pub token: Option<String>,
}

impl FromRequestParts<Arc<App>> for Presented {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let token = match bearer(parts)? {
            Some(token) => Some(token),
            None => in_query(parts),
        };
        let who = match &token {
            Some(token) => Some(app.core.verifier.verify_or_refresh(token).await?),
            None => None,
        };
        Ok(Presented { who, token })
    }
}

fn bearer(parts: &Parts) -> Result<Option<String>, Problem> {
    let Some(value) = parts.headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let scheme_and_token = value.to_str().ok().and_then(|v| v.trim().split_once(' '));
    match scheme_and_token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim().to_owned())),
        _ => Err(Problem::unauthorized(
            "the Authorization header is not understood; send Bearer TOKEN",
        )),
    }
}

fn in_query(parts: &Parts) -> Option<String> {
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(&parts.uri).ok()?;
    query.get("access_token").filter(|t| !t.is_empty()).cloned()
}

/// Whom a request under `/visitor` says it is from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Claim<'a> {
    /// The organisation; the configured one when it is empty.
    pub org: &'a str,
    /// The visitor's uid.
    pub uid: &'a str,
    /// A topic of that visitor's: deployed clients say no more when they ask for history.
    pub topic: &'a str,
}

impl Presented {
    /// The principal of the request: the token's user, who must be the one the request says, or an anonymous visitor.
    pub async fn visitor(self, app: &App, claim: Claim<'_>) -> Result<Principal, Problem> {
        let who = match self.who {
            Some(who) => claim.agrees_with(&who).map(|()| who)?,
            None => claim.anonymous(app)?,
        };
        app.pace(&who)?;
        app.core.proofs.admit(&who).await?;
        Ok(who)
    }
}

impl Claim<'_> {
    /// Whether a token's user is the one that the request is for.
    pub fn agrees_with(&self, who: &Principal) -> Result<(), Problem> {
        if !self.uid.is_empty() && !who.acts_as(self.uid) {
            return Err(Problem::forbidden(format!(
                "the request is for uid {:?}, but the token is {}'s; leave uid out or send that user's token",
                self.uid, who.user
            )));
        }
        if !self.org.is_empty() && self.org != who.org.as_str() {
            return Err(Problem::forbidden(format!(
                "the request is for orgUid {:?}, but the token is one of {}; leave orgUid out or send a token of that organisation",
                self.org, who.org
            )));
        }
        Ok(())
    }

    fn anonymous(&self, app: &App) -> Result<Principal, Problem> {
        if !app.anonymous_visitors {
            return Err(Problem::unauthorized(
                "no token; send the accessToken that POST /visitor/api/v1/init gives as Authorization: Bearer TOKEN or access_token=TOKEN",
            ));
        }
        let org = self.org_or_default(app)?;
        let uid = match self.uid {
            "" => ChatTopic::parse(self.topic)
                .and_then(|t| t.visitor())
                .unwrap_or_default(),
            uid => uid,
        };
        if uid.is_empty() {
            return Err(Problem::invalid(
                "uid is missing; say which visitor asks, or send its token",
            ));
        }
        let uid = UserId::checked(uid).map_err(|e| Problem::invalid(format!("uid: {e}")))?;
        Ok(Principal::new(org, uid, Role::Visitor, Origin::AnonymousVisitor))
    }

    /// The organisation that the request names.
    pub fn org_or_default(&self, app: &App) -> Result<OrgId, Problem> {
        match self.org {
            "" => Ok(app.default_org.clone()),
            org => OrgId::checked(org).map_err(|e| Problem::invalid(format!("orgUid: {e}"))),
        }
    }
}
