//! A visitor arrives: it gets a uid and a token, and a conversation at a desk.

use std::sync::Arc;

use auth::Claims;
use axum::extract::State;
use contract::ErrorKind;
use contract::persistence::{Desk, DeskKind, OpenThread, UserCard};
use model::{OrgId, Origin, Principal, Role, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::body::{JsonBody, text};
use crate::identity::{Claim, Presented};
use crate::openapi::MessageJson;
use crate::reply::{Answer, Envelope, Problem, Reply};
use crate::welcome;

/// The longest name and address of a picture, in bytes: both travel in every token and card.
const MAX_NICKNAME: usize = 256;
const MAX_AVATAR: usize = 2048;

/// What a visitor's page says about its visitor. Other members of deployed clients are ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(example = json!({"orgUid": "df_org_uid", "uid": "1418711693000834", "nickname": "Ann"}))]
pub(crate) struct InitRequest {
    /// The organisation visited; the configured one when empty.
    #[serde(deserialize_with = "text")]
    org_uid: String,
    /// The uid that an earlier call gave; empty asks for a new one.
    #[serde(deserialize_with = "text")]
    uid: String,
    /// The page's own name for the visitor; given back.
    #[serde(deserialize_with = "text")]
    visitor_uid: String,
    /// Its name.
    #[serde(deserialize_with = "text")]
    nickname: String,
    /// The address of its picture.
    #[serde(deserialize_with = "text")]
    avatar: String,
}

/// A visitor.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InitAnswer {
    /// Its uid, to be kept.
    uid: String,
    /// The page's own name for it, or its uid.
    visitor_uid: String,
    /// Its name.
    nickname: String,
    /// The address of its picture.
    avatar: String,
    /// The organisation visited.
    org_uid: String,
    /// Its token: the STOMP passcode, and `Authorization: Bearer …`. Absent when tokens come from elsewhere. For a uid that
    /// the caller did not show to be its own it says so (`unproven`), and is good for what a visitor without a token may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    access_token: Option<String>,
}

/// Enters a visitor and gives it a token.
///
/// Without a `uid` it is a new one, and the token proves it. With one, the caller shows that it is its own by that uid's
/// token. Where visitors need no token, a caller that shows none gets one that proves nothing, if the uid has never been
/// used with a token that does.
#[utoipa::path(post, path = "/visitor/api/v1/init", tag = "visitors", request_body = InitRequest,
    responses((status = 200, description = "The visitor", body = Envelope<InitAnswer>)))]
pub(crate) async fn init(
    State(app): State<Arc<App>>,
    presented: Presented,
    JsonBody(asked): JsonBody<InitRequest>,
) -> Answer<InitAnswer> {
    let org = org_of(&app, &presented, &asked)?;
    let shown = is_own(&presented, &asked.uid);
    if let Some(who) = presented.who.as_ref().filter(|_| shown) {
        app.core.proofs.admit(who).await?;
    } else if !asked.uid.is_empty() {
        check_claim(&app, &org, &asked.uid).await?;
    }
    let card = card(&asked.uid, &asked.nickname, &asked.avatar)?;
    let card = app.core.persistence.visitor(&org, card).await?;
    let access_token = match &app.signer {
        Some(signer) => {
            let unproven = !shown && !asked.uid.is_empty();
            Some(signer.sign(&claims(&app, &org, &card, unproven)))
        }
        None => presented.token.filter(|_| shown),
    };
    if access_token.is_none() && !app.anonymous_visitors {
        return Err(Problem::unauthorized(
            "this server does not make tokens; get the visitor's from the service that does, and send it",
        ));
    }
    let uid = card.uid.to_string();
    let visitor_uid = if asked.visitor_uid.is_empty() {
        uid.clone()
    } else {
        asked.visitor_uid
    };
    let (nickname, avatar, org_uid) = (card.nickname, card.avatar, org.to_string());
    Ok(Reply::new(InitAnswer {
        uid,
        visitor_uid,
        nickname,
        avatar,
        org_uid,
        access_token,
    }))
}

/// Whether the token shows that the visitor of this uid asks.
fn is_own(presented: &Presented, uid: &str) -> bool {
    let is = |who: &Principal| who.is_proven() && who.role == Role::Visitor && who.user.as_str() == uid;
    presented.who.as_ref().is_some_and(is)
}

/// The organisation of the token, where there is one; it cannot be left by naming another.
fn org_of(app: &App, presented: &Presented, asked: &InitRequest) -> Result<OrgId, Problem> {
    match &presented.who {
        Some(who) if asked.org_uid.is_empty() || asked.org_uid == who.org.as_str() => Ok(who.org.clone()),
        Some(who) => Err(Problem::forbidden(format!(
            "orgUid is {:?}, but the token is one of {}; leave orgUid out, or the token",
            asked.org_uid, who.org
        ))),
        None => Claim {
            org: &asked.org_uid,
            ..Claim::default()
        }
        .org_or_default(app),
    }
}

/// Whether a uid may be used by a caller that does not show that it is its own.
async fn check_claim(app: &App, org: &OrgId, uid: &str) -> Result<(), Problem> {
    if !app.anonymous_visitors {
        return Err(Problem::unauthorized(format!(
            "uid {uid:?} is given without its token; send that as Authorization: Bearer TOKEN, or leave uid out to get a new one"
        )));
    }
    let uid = UserId::checked(uid).map_err(|e| Problem::invalid(format!("uid: {e}")))?;
    let who = Principal::new(org.clone(), uid, Role::Visitor, Origin::AnonymousVisitor);
    Ok(app.core.proofs.admit(&who).await?)
}

/// A card of what a request says; empty members leave what is stored.
fn card(uid: &str, nickname: &str, avatar: &str) -> Result<UserCard, Problem> {
    for (name, text, max) in [
        ("nickname", nickname, MAX_NICKNAME),
        ("avatar", avatar, MAX_AVATAR),
    ] {
        if text.len() > max {
            return Err(Problem::invalid(format!(
                "{name} is {} bytes long; {max} are allowed",
                text.len()
            )));
        }
    }
    Ok(UserCard {
        uid: UserId::new(uid),
        nickname: nickname.to_owned(),
        avatar: avatar.to_owned(),
    })
}

fn claims(app: &App, org: &OrgId, card: &UserCard, unproven: bool) -> Claims {
    let some = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
    let now = app.core.now().0 / 1000;
    let mut claims =
        Claims::new(card.uid.as_str(), Role::Visitor).valid_for(now, app.config.token_ttl.as_secs());
    claims.org = Some(org.to_string());
    claims.name = some(&card.nickname);
    claims.avatar = some(&card.avatar);
    claims.unproven = unproven;
    claims
}

/// A visitor comes to a desk. Other members of deployed clients are ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(example = json!({"uid": "1418711693000834", "orgUid": "df_org_uid", "sid": "df_wg_uid", "type": "1"}))]
pub(crate) struct ThreadRequest {
    /// The visitor.
    #[serde(deserialize_with = "text")]
    uid: String,
    /// The organisation visited; that of the token, or the configured one, when empty.
    #[serde(deserialize_with = "text")]
    org_uid: String,
    /// The desk: uid of an agent, a workgroup or another.
    #[serde(deserialize_with = "text")]
    #[schema(required = true)]
    sid: String,
    /// What the desk is: `0` an agent, `1` a workgroup, `2` a robot, `12` a knowledge base, `13` a document of one, `15` an
    /// entrance; any when empty. A number or a name will do.
    #[serde(deserialize_with = "text")]
    r#type: String,
    /// The visitor's name, if it has changed.
    #[serde(deserialize_with = "text")]
    nickname: String,
    /// The address of its picture, if it has changed.
    #[serde(deserialize_with = "text")]
    avatar: String,
}

/// Opens the conversation of a visitor with a desk, or finds the one there is.
///
/// The answer is the message that the visitor is greeted with, WELCOME or CONTINUE; its `thread` is the conversation.
/// Asking again is safe.
#[utoipa::path(post, path = "/visitor/api/v1/thread", tag = "visitors", request_body = ThreadRequest,
    responses((status = 200, description = "The greeting", body = Envelope<MessageJson>)))]
pub(crate) async fn thread(
    State(app): State<Arc<App>>,
    presented: Presented,
    JsonBody(asked): JsonBody<ThreadRequest>,
) -> Answer<Value> {
    let claim = Claim {
        org: &asked.org_uid,
        uid: &asked.uid,
        topic: "",
    };
    let who = presented.visitor(&app, claim).await?;
    if who.role != Role::Visitor {
        return Err(Problem::forbidden(format!(
            "{} is no visitor; only a visitor comes to a desk",
            who.user
        )));
    }
    let sid = UserId::checked(&asked.sid)
        .map_err(|e| Problem::invalid(format!("sid: {e}; it is the uid of an agent or workgroup")))?;
    let desk = find_desk(&app, &who.org, &sid, &asked.r#type).await?;
    let or = |said: &str, known: &str| {
        if said.is_empty() {
            known.to_owned()
        } else {
            said.to_owned()
        }
    };
    let (nickname, avatar) = (or(&asked.nickname, &who.nickname), or(&asked.avatar, &who.avatar));
    let open = OpenThread {
        org: who.org.clone(),
        desk: sid,
        visitor: card(&who.user, &nickname, &avatar)?,
        at: app.core.now(),
    };
    let opened = app.core.persistence.open_thread(open).await?;
    welcome::greet(&app, &who, &desk, opened).await.map(Reply::new)
}

async fn find_desk(app: &App, org: &OrgId, sid: &UserId, kind: &str) -> Result<Desk, Problem> {
    let wanted = match kind.to_ascii_uppercase().as_str() {
        "" => None,
        "0" | "AGENT" => Some(DeskKind::Agent),
        "1" | "WORKGROUP" => Some(DeskKind::Workgroup),
        "2" | "ROBOT" => Some(DeskKind::Robot),
        "12" | "KBASE" => Some(DeskKind::Kb),
        "13" | "KBDOC" => Some(DeskKind::KbDoc),
        "15" | "UNIFIED" => Some(DeskKind::Unified),
        _ => {
            let shown: String = kind.chars().take(40).collect();
            return Err(Problem::invalid(format!(
                "type is {shown:?}; desks are agents (0), workgroups (1), robots (2), knowledge bases (12), their documents \
                 (13) and entrances (15)"
            )));
        }
    };
    let desk = app
        .core
        .persistence
        .desk(org, sid)
        .await
        .map_err(|error| match error.kind {
            ErrorKind::NotFound => Problem::not_found(format!(
                "there is no agent, workgroup or other desk {sid:?} in {org}; see sid"
            )),
            _ => error.into(),
        })?;
    match wanted.filter(|wanted| *wanted != desk.kind) {
        Some(wanted) => Err(Problem::not_found(format!(
            "there is no {} {sid:?}; it is of kind {}{}",
            wanted.name(),
            desk.kind.name(),
            type_of(desk.kind).map_or_else(String::new, |n| format!(", whose type is {n}"))
        ))),
        None => Ok(desk),
    }
}

/// The number of a kind in `type`; at a ticket desk no visitor is received.
fn type_of(kind: DeskKind) -> Option<u8> {
    match kind {
        DeskKind::Agent => Some(0),
        DeskKind::Workgroup => Some(1),
        DeskKind::Robot => Some(2),
        DeskKind::Kb => Some(12),
        DeskKind::KbDoc => Some(13),
        DeskKind::Unified => Some(15),
        DeskKind::Ticket => None,
    }
}
