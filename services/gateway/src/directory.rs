//! Who answers at which desk: what administrators ask of the directory, and how they change it.

pub(crate) mod agents;
pub(crate) mod desks;

use axum::extract::Path;
use contract::persistence::{Desk, UserCard};
use contract::{ErrorKind, RpcError};
use model::{Principal, Role, UserId};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::audit;
use crate::body::PathUid;
use crate::identity::Claim;
use crate::reply::{Answer, Problem};

/// Whose directory.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct OrgQuery {
    /// The organisation: the token's own, which is meant when it is left out.
    #[param(required = false)]
    org_uid: String,
}

impl OrgQuery {
    /// Refuses another organisation than the token's.
    pub fn agrees_with(&self, who: &Principal) -> Result<(), Problem> {
        let claim = Claim {
            org: &self.org_uid,
            ..Claim::default()
        };
        claim.agrees_with(who)
    }
}

/// A call of an administrator of the organisation, and its line in the audit log.
async fn administered<T>(
    who: &Principal,
    of: &OrgQuery,
    action: &'static str,
    object: &str,
    call: impl Future<Output = Answer<T>>,
) -> Answer<T> {
    let answer = match administers(who, of) {
        Ok(()) => call.await,
        Err(problem) => Err(problem),
    };
    audit::record(who, action, object, &answer);
    answer
}

fn administers(who: &Principal, of: &OrgQuery) -> Result<(), Problem> {
    if who.role != Role::Admin || !who.is_staff() {
        let user = &who.user;
        let message = format!("{user} is not an administrator; ask with a token of role admin");
        return Err(Problem::forbidden(message));
    }
    of.agrees_with(who)
}

fn named(uid: &PathUid) -> &str {
    uid.as_ref().map_or("", |Path(uid)| uid)
}

fn card(uid: &UserId, nickname: String, avatar: String) -> UserCard {
    UserCard {
        uid: uid.clone(),
        nickname,
        avatar,
    }
}

/// `None` when there is no such desk.
fn found(desk: Result<Desk, RpcError>) -> Result<Option<Desk>, Problem> {
    match desk {
        Ok(desk) => Ok(Some(desk)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
