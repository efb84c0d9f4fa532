//! Who takes part, and in which conversations.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;
use crate::client::link::{Form, Link};
use crate::client::{Conversation, Pair, User};
use crate::envelope::Thread;
use crate::http::{self, Answer};
use crate::plan::Plan;
use crate::target::{Address, Target};
use crate::token::Token;

/// The agents that the dev profile seeds.
const SEED: [&str; 2] = ["agent1", "agent2"];
/// How often what is too fast is asked again.
const ATTEMPTS: usize = 20;

/// Everybody, and what they talk in.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    pub(crate) users: Vec<User>,
    pub(crate) conversations: Vec<Conversation>,
}

/// Logs the agents of the dev profile in.
///
/// # Errors
/// When there is no such login.
pub async fn dev_tokens(target: &Target) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    for name in SEED {
        let body = json!({ "username": name, "password": name });
        let what = format!("the login of {name}");
        let data = ask(target, "/auth/v1/login", None, &body, &what).await?;
        tokens.push(token_of(&data, &what)?);
    }
    Ok(tokens)
}

/// Finds what takes MQTT over WebSocket, if the target does not say.
pub(crate) async fn find_websocket(target: &mut Target) -> Result<(), Error> {
    if !target.ws.is_empty() {
        return Ok(());
    }
    let base = &target.http[0];
    let beside = |at: &Address| at.join("/websocket");
    let candidates = [
        target.http.iter().map(beside).collect(),
        target.mqtt.iter().map(beside).collect(),
        vec![base.beside(9885, "/websocket")],
    ];
    for candidate in candidates {
        let Some(first) = candidate.first() else { continue };
        if Link::open(target, first, Some(("mqtt", Form::Binary)))
            .await
            .is_ok()
        {
            target.ws = candidate;
            return Ok(());
        }
    }
    if target.mqtt.is_empty() {
        let why = format!("{base}/websocket does not take it; give --ws or --mqtt");
        let what = "MQTT over WebSocket".to_owned();
        return Err(Error::Refused { what, why });
    }
    Ok(())
}

/// Puts the conversations together: visitors that have no token get one from the server.
pub(crate) async fn gather(target: &Target, tokens: Vec<Token>, plan: &Plan) -> Result<Cast, Error> {
    let (agents, mut visitors): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|token| token.is_agent);
    let desks: Vec<(usize, String)> = agents
        .iter()
        .enumerate()
        .flat_map(|(index, agent)| desks(agent).into_iter().map(move |desk| (index, desk)))
        .collect();
    if desks.is_empty() {
        return Err(Error::People("there is no token of an agent".to_owned()));
    }
    let wanted = plan.conversations + plan.changes.handed_over;
    while visitors.len() < wanted {
        let org = &agents[visitors.len() % agents.len()].org;
        match new_visitor(target, org).await {
            Ok(visitor) => visitors.push(visitor),
            // Those that have a token talk to several desks.
            Err(_) if !visitors.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    let mut cast = Cast::default();
    let count = agents.len();
    let users = agents.into_iter().chain(visitors);
    cast.users = users
        .map(|token| User {
            token,
            topics: Vec::new(),
        })
        .collect();
    let visitors = cast.users.len() - count;
    for number in 0..wanted.min(visitors * desks.len()) {
        let visitor = count + number % visitors;
        let (agent, desk) = &desks[(number + number / visitors) % desks.len()];
        let colleague = colleague(&cast, &desks, *agent, desk).filter(|_| number >= plan.conversations);
        if number < plan.conversations || colleague.is_some() {
            open(target, &mut cast, (*agent, desk), colleague, visitor).await?;
        }
    }
    if cast.conversations.is_empty() {
        return Err(Error::People(
            "there is no visitor of an agent's organisation".to_owned(),
        ));
    }
    Ok(cast)
}

/// Somebody to hand a conversation at this desk over to: another agent of the organisation, where neither answers for the other.
fn colleague<'a>(
    cast: &Cast,
    desks: &'a [(usize, String)],
    agent: usize,
    desk: &str,
) -> Option<&'a (usize, String)> {
    let own = &cast.users[agent];
    let mut others = desks.iter();
    others.find(|(other, of_other)| {
        let user = &cast.users[*other];
        user.token.org == own.token.org && !user.is(desk) && !own.is(of_other)
    })
}

/// The uids that an agent answers for.
fn desks(agent: &Token) -> Vec<String> {
    if agent.aliases.is_empty() {
        vec![agent.sub.clone()]
    } else {
        agent.aliases.clone()
    }
}

async fn new_visitor(target: &Target, org: &str) -> Result<Token, Error> {
    let body = json!({ "orgUid": org, "nickname": "longwire verify" });
    let what = "a visitor";
    let data = ask(target, "/visitor/api/v1/init", None, &body, what).await?;
    token_of(&data, what)
}

fn token_of(data: &Value, what: &str) -> Result<Token, Error> {
    let refused = |why: String| Error::Refused {
        what: what.to_owned(),
        why,
    };
    let text = data["accessToken"].as_str();
    let text = text.ok_or_else(|| refused("the answer has no accessToken".to_owned()))?;
    Token::parse(text).map_err(refused)
}

/// Opens a conversation, and enters it.
async fn open(
    target: &Target,
    cast: &mut Cast,
    (agent, desk): (usize, &str),
    colleague: Option<&(usize, String)>,
    visitor: usize,
) -> Result<(), Error> {
    let (of_agent, of_visitor) = (&cast.users[agent].token, &cast.users[visitor].token);
    if of_agent.org != of_visitor.org {
        return Ok(());
    }
    let topic = format!("org/agent/{desk}/{}", of_visitor.sub);
    let body = json!({ "uid": of_visitor.sub, "orgUid": of_visitor.org, "sid": desk, "type": "0" });
    let asked = ask(
        target,
        "/visitor/api/v1/thread",
        Some(&of_visitor.text),
        &body,
        "a conversation",
    )
    .await;
    let greeting = match asked {
        Ok(greeting) => greeting,
        // A desk that is in no directory has conversations all the same.
        Err(Error::Refused { why, .. }) if why.starts_with("HTTP 404") => Value::Null,
        Err(error) => return Err(error),
    };
    let (thread, has_life) = (&greeting["thread"], !greeting.is_null());
    if colleague.is_some() && !has_life {
        return Ok(());
    }
    // Who comes back to a conversation is greeted by who has it.
    let pair = colleague.map(|(agent, desk)| Pair {
        agent: *agent,
        desk: desk.clone(),
        has_it: greeting["user"]["uid"] == desk.as_str(),
    });
    let or = |name: &str, other: &str| thread[name].as_str().unwrap_or(other).to_owned();
    let thread = Thread {
        uid: or("uid", &topic),
        kind: or("type", "AGENT"),
        topic: or("topic", &topic),
        visitor: of_visitor.sub.clone(),
    };
    let index = cast.conversations.len();
    let org = of_agent.org.clone();
    cast.conversations.push(Conversation {
        thread,
        desk: desk.to_owned(),
        agent,
        visitor,
        has_life,
        pair,
    });
    enter(cast, index, &org);
    Ok(())
}

/// Enters a conversation with everyone who takes part: its visitor, and whoever answers at its desk, or the two that hand it over.
fn enter(cast: &mut Cast, index: usize, org: &str) {
    let conversation = &cast.conversations[index];
    let (visitor, desk) = (conversation.visitor, conversation.desk.clone());
    let two = conversation.handed().map(|handed| handed.agents);
    cast.users[visitor].topics.push(index);
    for (number, user) in cast.users.iter_mut().enumerate() {
        let of_desk = user.token.is_agent && user.token.org == org && user.is(&desk);
        if two.map_or(of_desk, |two| two.contains(&number)) {
            user.topics.push(index);
        }
    }
}

/// POST, again and again while the server says that it is too fast or busy.
async fn ask(
    target: &Target,
    path: &str,
    token: Option<&str>,
    body: &Value,
    what: &str,
) -> Result<Value, Error> {
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        let at = &target.http[attempt % target.http.len()];
        match http::post(target, at, path, token, body).await {
            Answer::Data(data) => return Ok(data),
            Answer::Status(status @ (429 | 503 | 504), why) => last = format!("HTTP {status}: {why}"),
            Answer::Silence(why) if attempt < target.http.len() => last = why,
            other => {
                let what = what.to_owned();
                let why = other.data().err().unwrap_or_default();
                return Err(Error::Refused { what, why });
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(Error::Refused {
        what: what.to_owned(),
        why: last,
    })
}
