//! `longwire token`.

use anyhow::{Context as _, bail};
use auth::{Claims, Signer};
use model::Role;

use crate::all;
use crate::cli::{TokenArgs, TokenRole};
use crate::config::{Config, Profile};

/// Signs a token with the configured secret, or with the one of the data folder.
pub(crate) fn sign(config: &Config, asked: &TokenArgs) -> anyhow::Result<String> {
    let secret = config.data.join(auth::DEV_SECRET_FILE);
    if config.profile == Profile::Dev && !config.auth.has_keys() && !secret.exists() {
        // One that is made here would sign tokens that no server takes.
        bail!(
            "there is no {} in {}; name the data folder of the server with --data, or set auth.secret",
            auth::DEV_SECRET_FILE,
            config.data.display()
        );
    }
    let auth = all::with_secret(config)?;
    let signer = Signer::new(&auth)
        .context("signing a token needs auth.secret; tokens of other keys are signed elsewhere")?;
    let role = match asked.role {
        TokenRole::Agent => Role::Agent,
        TokenRole::Visitor => Role::Visitor,
        TokenRole::Admin => Role::Admin,
        TokenRole::Service => Role::Service,
    };
    model::UserId::checked(&asked.uid).with_context(|| format!("--uid {:?}", asked.uid))?;
    for alias in &asked.aliases {
        model::UserId::checked(alias).with_context(|| format!("--alias {alias:?}"))?;
    }
    let now = runtime::clock::Clock::system().unix_millis() / 1000;
    let mut claims = Claims::new(asked.uid.as_str(), role).valid_for(now, asked.ttl.as_secs());
    claims.org = Some(asked.org.clone().unwrap_or_else(|| auth.default_org.to_string()));
    claims.aliases.clone_from(&asked.aliases);
    claims.name.clone_from(&asked.nickname);
    Ok(signer.sign(&claims))
}
