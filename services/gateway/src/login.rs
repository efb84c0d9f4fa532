//! The login of the development seed. Production has none: tokens come from whoever knows the users.

use std::sync::Arc;

use auth::{Claims, Signer};
use axum::extract::State;
use model::{Principal, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::body::{JsonBody, text};
use crate::reply::{Answer, Envelope, Problem, Reply};

/// The organisation of the seed.
const ORG: &str = "df_org_uid";

/// A user of the seed. Its password is its name.
struct SeedUser {
    name: &'static str,
    nickname: &'static str,
    role: Role,
    alias: Option<&'static str>,
}

const SEED: [SeedUser; 3] = [
    SeedUser {
        name: "agent1",
        nickname: "Agent 1",
        role: Role::Agent,
        alias: Some("df_ag_uid"),
    },
    SeedUser {
        name: "agent2",
        nickname: "Agent 2",
        role: Role::Agent,
        alias: Some("df_ag2_uid"),
    },
    SeedUser {
        name: "admin",
        nickname: "Admin",
        role: Role::Admin,
        alias: None,
    },
];

/// A name and its password.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"username": "agent1", "password": "agent1"}))]
pub(crate) struct LoginRequest {
    /// `agent1`, `agent2` or `admin`.
    #[serde(default, deserialize_with = "text")]
    username: String,
    /// The same again.
    #[serde(default, deserialize_with = "text")]
    password: String,
}

/// A token to log in with.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRequest {
    /// A token that was given before.
    #[serde(default, deserialize_with = "text")]
    access_token: String,
}

/// A token and whose it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginAnswer {
    /// The MQTT password, and `Authorization: Bearer …`.
    access_token: String,
    /// Whose it is.
    user: LoginUser,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginUser {
    /// The first part of an MQTT client id.
    uid: String,
    /// The MQTT user name.
    username: String,
    /// Its name.
    nickname: String,
    /// The address of its picture.
    avatar: String,
    /// Where it works.
    current_organization: Organization,
}

/// An organisation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Organization {
    /// Its uid.
    uid: String,
}

/// Logs a user of the development seed in. There is no such call in production.
#[utoipa::path(post, path = "/auth/v1/login", tag = "tokens", request_body = LoginRequest, security(()),
    responses((status = 200, description = "A token and whose it is", body = Envelope<LoginAnswer>)))]
pub(crate) async fn login(
    State(app): State<Arc<App>>,
    JsonBody(asked): JsonBody<LoginRequest>,
) -> Answer<LoginAnswer> {
    let signer = dev_signer(&app)?;
    let known = |user: &&SeedUser| user.name == asked.username && user.name == asked.password;
    let user = SEED.iter().find(known).ok_or_else(|| {
        Problem::unauthorized("there is no such user or that is not the password; agent1, agent2 and admin have their names as passwords")
    })?;
    let now = app.core.now().0 / 1000;
    let mut claims = Claims::new(user.name, user.role).valid_for(now, app.config.token_ttl.as_secs());
    claims.org = Some(ORG.to_owned());
    claims.aliases = user.alias.into_iter().map(str::to_owned).collect();
    claims.name = Some(user.nickname.to_owned());
    let answer = LoginAnswer {
        access_token: signer.sign(&claims),
        user: LoginUser {
            uid: user.name.to_owned(),
            username: user.name.to_owned(),
            nickname: user.nickname.to_owned(),
            avatar: String::new(),
            current_organization: Organization { uid: ORG.to_owned() },
        },
    };
    Ok(Reply::new(answer))
}

/// Tells whose a token is, if it is still good. Deployed agent clients ask this at start; the token stays the same.
#[utoipa::path(post, path = "/auth/v1/login/accessToken", tag = "tokens", request_body = TokenRequest, security(()),
    responses((status = 200, description = "The token and whose it is", body = Envelope<LoginAnswer>)))]
pub(crate) async fn again(
    State(app): State<Arc<App>>,
    JsonBody(asked): JsonBody<TokenRequest>,
) -> Answer<LoginAnswer> {
    if asked.access_token.is_empty() {
        return Err(Problem::invalid(
            "accessToken is missing; send the token to log in with",
        ));
    }
    let who: Principal = app.core.verifier.verify_or_refresh(&asked.access_token).await?;
    app.pace(&who)?;
    let user = LoginUser {
        uid: who.user.to_string(),
        username: who.user.to_string(),
        nickname: who.nickname,
        avatar: who.avatar,
        current_organization: Organization {
            uid: who.org.to_string(),
        },
    };
    Ok(Reply::new(LoginAnswer {
        access_token: asked.access_token,
        user,
    }))
}

fn dev_signer(app: &App) -> Result<&Signer, Problem> {
    let signer = app.signer.as_deref().filter(|_| app.config.has_dev_login());
    signer.ok_or_else(|| {
        Problem::not_found("there is no login here; get a token from the service that knows your users (gateway.dev_login is off)")
    })
}
