//! Tokens, as the command line signs them.

use std::process::Command;

use super::run;

/// What `longwire token` is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenSpec<'a> {
    /// `--uid`
    pub uid: &'a str,
    /// `--org`
    pub org: Option<&'a str>,
    /// `--role`
    pub role: Option<&'a str>,
    /// `--alias`, each
    pub aliases: &'a [&'a str],
    /// `--nickname`
    pub nickname: Option<&'a str>,
    /// `--ttl`
    pub ttl: Option<&'a str>,
}

impl<'a> TokenSpec<'a> {
    /// An agent who answers for a desk.
    pub fn agent(uid: &'a str, aliases: &'a [&'a str]) -> Self {
        Self {
            uid,
            role: Some("agent"),
            aliases,
            ..Self::default()
        }
    }

    /// A visitor.
    pub fn visitor(uid: &'a str) -> Self {
        Self {
            uid,
            role: Some("visitor"),
            ..Self::default()
        }
    }

    /// In another organisation.
    #[must_use]
    pub fn org(self, org: &'a str) -> Self {
        Self {
            org: Some(org),
            ..self
        }
    }

    /// With another life time.
    #[must_use]
    pub fn ttl(self, ttl: &'a str) -> Self {
        Self {
            ttl: Some(ttl),
            ..self
        }
    }

    /// Has the command line sign it.
    pub(crate) async fn sign(&self, token: Command) -> String {
        let output = run(self.command(token)).await;
        assert!(
            output.status.success(),
            "signing a token: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn command(&self, mut command: Command) -> Command {
        command.args(["--uid", self.uid]);
        for (name, value) in [
            ("--org", self.org),
            ("--role", self.role),
            ("--nickname", self.nickname),
            ("--ttl", self.ttl),
        ] {
            if let Some(value) = value {
                command.args([name, value]);
            }
        }
        for alias in self.aliases {
            command.args(["--alias", alias]);
        }
        command
    }
}
