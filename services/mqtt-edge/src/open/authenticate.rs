//! Who a client is.

use contract::ErrorKind;
use edge::Refusal;
use model::{OrgId, Origin, Principal, Role, UserId};
use mqtt_codec::Connect;

use crate::edge::Edge;

pub(super) async fn authenticate(edge: &Edge, connect: &Connect) -> Result<Principal, Refusal> {
    let unauthorized = |detail: String| Refusal::new(ErrorKind::Unauthorized, detail);
    if connect.properties.authentication_method.is_some() {
        return Err(unauthorized(
            "enhanced authentication is not offered; send the token as the password".into(),
        ));
    }
    match connect.password.as_deref() {
        Some(token) if !token.is_empty() => {
            let token =
                std::str::from_utf8(token).map_err(|_| unauthorized("the password is not a token".into()))?;
            let verified = edge.core.verifier.verify_or_refresh(token).await;
            let who = verified.map_err(|e| unauthorized(e.to_string()))?;
            edge.core.proofs.admit(&who).await?;
            Ok(who)
        }
        _ if edge.auth.allows_anonymous_mqtt() && connect.client_id.split('/').count() != 3 => {
            let org = OrgId::new(edge.auth.default_org.as_str());
            let user = UserId::new(format!("anonymous:{}", connect.client_id.as_str()));
            Ok(Principal::new(org, user, Role::Visitor, Origin::AnonymousMqtt))
        }
        _ => Err(unauthorized("send an access token as the password".into())),
    }
}

/// `{uid}/{client}/{device}` names a user: it must be the token's.
pub(super) fn check_client_id(client: &str, who: &Principal) -> Result<(), Refusal> {
    let parts: Vec<&str> = client.split('/').collect();
    match parts.as_slice() {
        [uid, _, _] if *uid != who.user.as_str() => Err(Refusal::forbidden(format!(
            "the client id begins with {uid:?}, but the token is {:?}'s",
            who.user.as_str()
        ))),
        _ => Ok(()),
    }
}
