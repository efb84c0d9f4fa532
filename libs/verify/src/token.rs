//! Tokens, and whose they are. Their signature is the server's business.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::Error;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it is sent.
    pub(crate) text: String,
    /// The user.
    pub(crate) sub: String,
    /// Its organisation; empty if the token does not say.
    pub(crate) org: String,
    /// Further uids that it acts under; an agent's desks.
    pub(crate) aliases: Vec<String>,
    /// Whether it is an agent's (or admin's) rather than a visitor's.
    pub(crate) is_agent: bool,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    org: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    aliases: Vec<String>,
}

impl Token {
    /// Reads a JWT.
    ///
    /// # Errors
    /// When it is none, or does not say whose it is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let payload = text.split('.').nth(1).ok_or("it is no JWT")?;
        let json = URL_SAFE_NO_PAD
            .decode(payload.trim_end_matches('='))
            .map_err(|_| "its second part is not base64url")?;
        let claims: Claims = serde_json::from_slice(&json).map_err(|e| format!("its claims: {e}"))?;
        Ok(Self {
            text: text.to_owned(),
            sub: claims.sub,
            org: claims.org,
            aliases: claims.aliases,
            is_agent: matches!(claims.role.as_str(), "agent" | "admin"),
        })
    }

    /// Reads a file of tokens, one in each line. Empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// When it cannot be read, or a line is no token.
    pub fn read(file: &Path) -> Result<Vec<Self>, Error> {
        let text = std::fs::read_to_string(file).map_err(|source| Error::File {
            file: file.to_owned(),
            source,
        })?;
        let lines = text.lines().map(str::trim).enumerate();
        let tokens = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        tokens
            .map(|(number, line)| {
                Self::parse(line).map_err(|why| Error::Token {
                    number: number + 1,
                    why,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_says_whose_it_is() {
        let token = Token::parse(&jwt(
            r#"{"sub":"u1","org":"o","role":"agent","aliases":["desk"],"exp":1}"#,
        ))
        .unwrap();
        assert_eq!(
            (token.sub.as_str(), token.org.as_str(), token.is_agent),
            ("u1", "o", true)
        );
        assert_eq!(token.aliases, ["desk"]);
        let visitor = Token::parse(&jwt(r#"{"sub":"v1"}"#)).unwrap();
        assert!(!visitor.is_agent && visitor.aliases.is_empty());
    }

    #[test]
    fn what_is_no_token_is_told_with_its_line() {
        let file = std::env::temp_dir().join(format!("verify-tokens-{}", std::process::id()));
        std::fs::write(
            &file,
            format!("# agents\n\n{}\nnonsense\n", jwt(r#"{"sub":"a"}"#)),
        )
        .unwrap();
        let error = Token::read(&file).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(error, "reading token 4: it is no JWT");
    }
}
