//! `longwire explain`: asks a running installation where a message is, and prints the answer for people.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::header::AUTHORIZATION;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use runtime::config::HumanDuration;
use serde_json::Value;
use verify::encode;

use crate::cli::{TokenArgs, TokenRole};
use crate::config::Config;
use crate::token;

/// For connecting and the whole answer together.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Over this an answer is refused.
const MAX_ANSWER: usize = 64 << 20;
/// Whom a token that is made for one question names.
const OPERATOR: &str = "longwire-explain";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The uid that the message's sender gave it.
    #[arg(long, value_name = "U")]
    pub uid: String,
    /// The org; the token's when left out.
    #[arg(long, value_name = "O")]
    pub org: Option<String>,
    /// Only what became of it with this user, or with the user behind this alias.
    #[arg(long, value_name = "X")]
    pub to: Option<String>,
    /// Where the installation answers HTTP; this configuration's http.listen when left out.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A token of role admin; without it one is signed with the configured secret.
    #[arg(long, value_name = "T")]
    pub token: Option<String>,
}

/// Asks, and gives the report.
pub(crate) fn run(config: &Config, asked: &ExplainArgs) -> anyhow::Result<String> {
    crate::wait_for(ask(config, asked))?
}

async fn ask(config: &Config, asked: &ExplainArgs) -> anyhow::Result<String> {
    let base = match &asked.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => here(config)?,
    };
    let mut url = format!("{base}/api/v1/admin/explain?uid={}", encode(&asked.uid));
    for (name, value) in [("org", &asked.org), ("to", &asked.to)] {
        if let Some(value) = value {
            let _infallible = write!(url, "&{name}={}", encode(value));
        }
    }
    let token = match &asked.token {
        Some(token) => token.clone(),
        None => sign(config, asked.org.clone())?,
    };
    let answer = tokio::time::timeout(TIMEOUT, get(&url, &token)).await;
    let (status, body) = answer
        .with_context(|| format!("no answer of {base} within {} s", TIMEOUT.as_secs()))?
        .with_context(|| format!("asking {base}"))?;
    let envelope: Value = serde_json::from_slice(&body)
        .with_context(|| format!("{base} answered {status}, and not as Longwire does; is --url right?"))?;
    if status != 200 {
        bail!("{base} answered {status}: {}", text(&envelope["message"]));
    }
    Ok(report(&envelope["data"]))
}

/// Where an installation of this configuration answers on this machine.
fn here(config: &Config) -> anyhow::Result<String> {
    let listen = &config.http.listen;
    ensure!(
        listen.port() != 0,
        "http.listen takes any free port; say with --url where the installation answers"
    );
    let host = match listen.host() {
        "0.0.0.0" | "" | "*" => "127.0.0.1",
        "::" | "[::]" => "[::1]",
        host => host,
    };
    Ok(format!("http://{host}:{}", listen.port()))
}

fn sign(config: &Config, org: Option<String>) -> anyhow::Result<String> {
    let asked = TokenArgs {
        uid: OPERATOR.to_owned(),
        org,
        role: TokenRole::Admin,
        aliases: Vec::new(),
        nickname: None,
        ttl: HumanDuration::from_secs(300),
    };
    token::sign(config, &asked).context("without --token one is signed here")
}

async fn get(url: &str, token: &str) -> anyhow::Result<(u16, Bytes)> {
    let builder = HttpsConnectorBuilder::new();
    // The system's roots include what an organisation added; a bare container has none, and then Mozilla's serve.
    let builder = match builder.with_native_roots() {
        Ok(builder) => builder,
        Err(_) => HttpsConnectorBuilder::new().with_webpki_roots(),
    };
    let connector = builder.https_or_http().enable_http1().build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::get(url).header(AUTHORIZATION, format!("Bearer {}", token.trim()));
    let request = request
        .body(Empty::new())
        .context("--url or --token cannot be sent")?;
    let answer = client.request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?;
    Ok((status, body.to_bytes()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The answer for people.
fn report(data: &Value) -> String {
    let mut lines = vec![format!(
        "message {} in {}",
        text(&data["uid"]),
        text(&data["org"])
    )];
    for message in items(&data["messages"]) {
        lines.push(String::new());
        about(message, &mut lines);
        for recipient in items(&message["recipients"]) {
            lines.push(String::new());
            with(recipient, &mut lines);
        }
        if items(&message["recipients"]).is_empty() {
            lines.push("  nobody is known to be entitled to it".to_owned());
        }
    }
    lines.join("\n")
}

fn about(message: &Value, lines: &mut Vec<String>) {
    let of = |name: &str| text(&message[name]);
    let role = message["senderRole"].as_str().unwrap_or("service");
    let author = match of("author") == of("sender") {
        true => String::new(),
        false => format!(" as {}", of("author")),
    };
    lines.push(format!(
        "{} by {}{author} ({role}) on {}",
        of("type"),
        of("sender"),
        of("topic")
    ));
    lines.push(format!(
        "  stored    {}, partition {}, position {}",
        of("acceptedAt"),
        message["partition"],
        of("position")
    ));
    let mut state = vec![of("state").to_owned()];
    if message["parts"] != 0 {
        state.push(format!("streamed, with {} further parts", message["parts"]));
    }
    if message["recalled"] == true {
        state.push("taken back".to_owned());
    }
    if message["inHistory"] != true {
        state.push("not in history".to_owned());
    }
    lines.push(format!("  state     {}", state.join(", ")));
    let each = |name: &str, spell: fn(&Value) -> String| {
        let all: Vec<String> = items(&message[name]).iter().map(spell).collect();
        all.join("; ")
    };
    let receipts = each("receipts", |r| {
        format!("{} {}", text(&r["by"]), text(&r["state"]))
    });
    let members = each("members", |m| {
        format!("{} since {}", text(&m["uid"]), text(&m["since"]))
    });
    for (name, value) in [("receipts", receipts), ("members", members)] {
        if !value.is_empty() {
            lines.push(format!("  {name:<9} {value}"));
        }
    }
}

fn with(recipient: &Value, lines: &mut Vec<String>) {
    let mut known: Vec<String> = recipient["role"]
        .as_str()
        .map(str::to_owned)
        .into_iter()
        .collect();
    let aliases: Vec<&str> = items(&recipient["aliases"]).iter().map(text).collect();
    if !aliases.is_empty() {
        known.push(format!("as {}", aliases.join(", ")));
    }
    known.push(match &recipient["connections"] {
        Value::Number(n) if n.as_u64() == Some(1) => "1 connection".to_owned(),
        Value::Number(n) => format!("{n} connections"),
        _ => "presence unknown".to_owned(),
    });
    lines.push(format!(
        "  to {} ({}): {}",
        text(&recipient["user"]),
        known.join("; "),
        text(&recipient["verdict"])
    ));
    lines.push(format!("     {}", text(&recipient["why"])));
    for session in items(&recipient["sessions"]) {
        let place = match session["connected"] == true {
            true => "connected at",
            false => "last at",
        };
        lines.push(format!(
            "     - {} session {:?}, {place} {}: {}",
            text(&session["protocol"]),
            text(&session["client"]),
            text(&session["edge"]),
            text(&session["verdict"])
        ));
        lines.push(format!("       {}", text(&session["why"])));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_report_says_where_the_message_is_and_why_it_is_not_with_somebody() {
        let session = json!({
            "client": "agent1/web/d1", "protocol": "mqtt", "epoch": "7", "connected": false, "edge": "mqtt-edge-1",
            "verdict": "offline", "why": "the client is offline",
        });
        let data = json!({"uid": "m1", "org": "o", "messages": [{
            "position": "65536", "partition": 3, "parts": 0, "topic": "org/agent/a/v", "sender": "v", "senderRole": "visitor",
            "author": "v", "type": "TEXT", "acceptedAt": "2026-01-31 12:21:50", "timestamp": 1, "recalled": true,
            "inHistory": true, "state": "SENT", "receipts": [{"by": "b", "state": "READ"}], "members": [],
            "recipients": [{
                "user": "agent1", "aliases": ["a"], "role": "agent", "tie": "topic", "connections": 0,
                "verdict": "offline", "why": "the client is offline", "sessions": [session],
            }],
        }]});
        assert_eq!(
            report(&data),
            "message m1 in o\n\
             \n\
             TEXT by v (visitor) on org/agent/a/v\n\
             \x20 stored    2026-01-31 12:21:50, partition 3, position 65536\n\
             \x20 state     SENT, taken back\n\
             \x20 receipts  b READ\n\
             \n\
             \x20 to agent1 (agent; as a; 0 connections): offline\n\
             \x20    the client is offline\n\
             \x20    - mqtt session \"agent1/web/d1\", last at mqtt-edge-1: offline\n\
             \x20      the client is offline"
        );
    }
}
