use serde::{Deserialize, Deserializer, Serialize};

use model::Role;

/// The claims of a token that mean something here. Others are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user's uid.
    pub sub: String,
    /// The organisation; the configured default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// What the user is; absent counts as visitor.
    #[serde(default = "least")]
    pub role: Role,
    /// Further uids this user acts under.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Nickname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// `true`: the token was given to somebody who said that this uid is its own and did not show it. Its holder is an
    /// anonymous visitor, whatever else the token says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
    /// End of validity, unix seconds.
    #[serde(
        default,
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub exp: Option<u64>,
    /// When it was made, unix seconds.
    #[serde(
        default,
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub iat: Option<u64>,
    /// Start of validity, unix seconds.
    #[serde(
        default,
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub nbf: Option<u64>,
    /// Issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Audience: one name or a list of them.
    #[serde(
        default,
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub aud: Vec<String>,
}

impl Claims {
    /// Claims of a user without anything optional; set the fields you need.
    #[must_use]
    pub fn new(sub: impl Into<String>, role: Role) -> Self {
        Self {
            sub: sub.into(),
            org: None,
            role,
            aliases: Vec::new(),
            name: None,
            avatar: None,
            unproven: false,
            exp: None,
            iat: None,
            nbf: None,
            iss: None,
            aud: Vec::new(),
        }
    }

    /// Valid from `now` for `seconds`.
    #[must_use]
    pub fn valid_for(mut self, now: u64, seconds: u64) -> Self {
        self.iat = Some(now);
        self.exp = Some(now.saturating_add(seconds));
        self
    }
}

/// The role that may least.
fn least() -> Role {
    Role::Visitor
}

/// RFC 7519 §2: seconds since 1970, possibly with a fraction. Before 1970 counts as 1970, which has passed all the same.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Other(f64),
    }
    let number = Option::<Number>::deserialize(deserializer)?;
    Ok(number.map(|number| match number {
        Number::Whole(seconds) => seconds,
        Number::Other(seconds) => seconds as u64,
    }))
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Names>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Names::One(name)) => vec![name],
        Some(Names::Many(names)) => names,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_may_have_a_fraction_or_lie_before_1970() {
        let claims: Claims = serde_json::from_str(r#"{"sub":"u","exp":1.5e9,"iat":-7,"nbf":12.9}"#).unwrap();
        assert_eq!(
            (claims.exp, claims.iat, claims.nbf),
            (Some(1_500_000_000), Some(0), Some(12))
        );
    }

    #[test]
    fn unknown_claims_and_nulls_are_ignored() {
        let claims: Claims =
            serde_json::from_str(r#"{"sub":"u","org":null,"exp":null,"aud":"x","azp":{"a":1}}"#).unwrap();
        assert_eq!(
            claims,
            Claims {
                aud: vec!["x".to_owned()],
                ..Claims::new("u", Role::Visitor)
            }
        );
    }

    #[test]
    fn a_role_of_another_name_is_refused() {
        assert!(serde_json::from_str::<Claims>(r#"{"sub":"u","role":"root"}"#).is_err());
    }
}
