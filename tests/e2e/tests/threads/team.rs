//! Agents who work together, their visitors, and the ways in which either speaks.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::{Value, json};
use testkit::chat::{self, DESK, DESK2, Message, ORG};
use testkit::http;
use testkit::mqtt::{Mqtt, Options, QoS, ReasonCode};
use testkit::stomp::{self, Stomp};
use testkit::{DEADLINE, Longwire, TokenSpec, eventually};

/// A protocol to send over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Mqtt,
    Stomp,
    Http,
}

pub const WAYS: [Way; 3] = [Way::Mqtt, Way::Stomp, Way::Http];

/// A conversation that a message about it names.
pub fn about(topic: &str, more: Value) -> String {
    let mut content = json!({ "thread": { "topic": topic } });
    for (name, value) in more.as_object().unwrap() {
        content[name] = value.clone();
    }
    content.to_string()
}

/// A server, and who manages its directory.
pub struct Team {
    pub server: Longwire,
    admin: String,
}

impl Team {
    pub async fn start(config: &str) -> Self {
        let server = Longwire::builder().config(config).start().await;
        let spec = TokenSpec {
            uid: "root",
            role: Some("admin"),
            ..TokenSpec::default()
        };
        let admin = server.token(&spec).await;
        Self { server, admin }
    }

    pub fn http(&self) -> SocketAddr {
        self.server.at().http
    }

    pub async fn put(&self, path: &str, body: Value) {
        let path = format!("/api/v1/admin/directory/{path}");
        let (at, body) = (self.http(), Some(body.to_string()));
        http::send(at, Method::PUT, &path, Some(&self.admin), body)
            .await
            .data();
    }

    /// A workgroup of these agents that receives visitors everywhere.
    pub async fn group(&self, uid: &str, agents: &[&str]) {
        let desk = json!({ "kind": "workgroup", "agents": agents });
        self.put(&format!("desks/{uid}"), desk).await;
        // In a cluster another replica of persistence may be asked, which has a moment for it.
        eventually("the desk receives visitors", DEADLINE, async || {
            let body = json!({ "uid": format!("first-{uid}"), "orgUid": ORG, "sid": uid, "type": "1" });
            let reply = http::post(self.http(), "/visitor/api/v1/thread", None, &body).await;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// The page of the agent of a seeded desk, connected as deployed ones are.
    pub async fn agent(&self, desk: &'static str, device: &str) -> Agent {
        let user = match desk {
            DESK => "agent1",
            DESK2 => "agent2",
            other => panic!("nobody is at {other}"),
        };
        let token = self.server.token(&TokenSpec::agent(user, &[desk])).await;
        let options = Options::v311(&format!("{user}/web/{device}"))
            .persistent()
            .keep_alive(30)
            .token(&token)
            .websocket("/websocket");
        let page = Mqtt::connect(&self.server, options).await;
        let path = format!("/api/v1/connection/presence/{desk}");
        eventually("the agent is known to be there", DEADLINE, async || {
            let reply = http::get(self.http(), &path, Some(&token)).await;
            (reply.status == 200 && reply.data()["online"] == true).then_some(())
        })
        .await;
        Agent {
            desk,
            user,
            token,
            page,
        }
    }

    /// A visitor's page asks for a conversation with a workgroup: what it is greeted with.
    pub async fn asks(&self, visitor: &str, group: &str) -> Value {
        let body = json!({ "uid": visitor, "orgUid": ORG, "sid": group, "type": "1" });
        let token = self.server.token(&TokenSpec::visitor(visitor)).await;
        http::post(self.http(), "/visitor/api/v1/thread", Some(&token), &body)
            .await
            .data()
    }

    /// A visitor's page, subscribed to its conversation with a workgroup.
    pub async fn page(&self, visitor: &str, group: &str) -> Visitor {
        let token = self.server.token(&TokenSpec::visitor(visitor)).await;
        let mut page = Stomp::connect(&self.server, stomp::Options::visitor(visitor, Some(&token))).await;
        let topic = topic(group, visitor);
        page.subscribe("sub-0", &topic, "client", &[]).await;
        Visitor {
            uid: visitor.to_owned(),
            topic,
            token,
            page,
        }
    }

    /// The status of a conversation, as its visitor's list shows it.
    pub async fn status(&self, visitor: &Visitor) -> String {
        let reply = http::get(
            self.http(),
            "/api/v1/thread/query?pageNumber=0&pageSize=9",
            Some(&visitor.token),
        )
        .await;
        let data = reply.data();
        let threads = data["content"].as_array().unwrap();
        let of = threads.iter().find(|t| t["topic"] == visitor.topic.as_str());
        of.map_or(String::new(), |t| {
            t["status"].as_str().unwrap_or_default().to_owned()
        })
    }
}

pub fn topic(group: &str, visitor: &str) -> String {
    format!("org/workgroup/{group}/{visitor}")
}

/// An agent, and its page.
pub struct Agent {
    pub desk: &'static str,
    pub user: &'static str,
    pub token: String,
    pub page: Mqtt,
}

impl Agent {
    /// All that its page hears up to what is wanted, that included.
    pub async fn hears_up_to(&mut self, wanted: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut heard = Vec::new();
        loop {
            let message = self.page.hear().await;
            let is_last = wanted(&message);
            heard.push(message);
            if is_last {
                return heard;
            }
        }
    }

    /// A message to a colleague.
    pub fn to(&self, colleague: &str, kind: &str, content: &str) -> Message {
        let topic = format!("org/member/{}/{colleague}", self.desk);
        let mut message = chat::message(kind, &chat::uid(), &topic, self.desk, content);
        message.thread.as_mut().unwrap().r#type = "MEMBER".into();
        message
    }

    pub async fn voice(&self, team: &Team, way: Way) -> Voice {
        Voice::open(team, way, self.user, &self.token, "/api/v1/message/rest/send").await
    }

    pub async fn post(&self, team: &Team, path: &str, body: &Value) -> http::Reply {
        http::post(team.http(), path, Some(&self.token), body).await
    }
}

/// A visitor, and its page.
pub struct Visitor {
    pub uid: String,
    pub topic: String,
    pub token: String,
    pub page: Stomp,
}

impl Visitor {
    pub fn text(&self, content: &str) -> Message {
        chat::text(&self.topic, &self.uid, content)
    }

    pub async fn voice(&self, team: &Team, way: Way) -> Voice {
        Voice::open(team, way, &self.uid, &self.token, "/visitor/api/v1/message/send").await
    }

    /// All that its page hears up to what is wanted, that included.
    pub async fn hears_up_to(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let message = self.page.hear().await;
            let is_last = wanted(&message);
            heard.push(message);
            if is_last {
                return heard;
            }
        }
    }
}

/// Somebody who sends over one protocol, and hears nothing.
pub enum Voice {
    Mqtt(Box<Mqtt>),
    Stomp(Box<Stomp>),
    Http {
        at: SocketAddr,
        path: &'static str,
        token: String,
    },
}

impl Voice {
    async fn open(team: &Team, way: Way, uid: &str, token: &str, path: &'static str) -> Self {
        match way {
            Way::Mqtt => {
                let options = Options::v5(&format!("{uid}/voice/{}", chat::uid())).token(token);
                Voice::Mqtt(Box::new(Mqtt::connect(&team.server, options).await))
            }
            Way::Stomp => {
                let options = stomp::Options::visitor(uid, Some(token));
                Voice::Stomp(Box::new(Stomp::connect(&team.server, options).await))
            }
            Way::Http => Voice::Http {
                at: team.http(),
                path,
                token: token.to_owned(),
            },
        }
    }

    /// Sends what is accepted.
    pub async fn say(&mut self, message: &Message) {
        match self {
            Voice::Mqtt(mqtt) => {
                mqtt.say(message).await;
            }
            Voice::Stomp(page) => page.say(message).await,
            Voice::Http { at, path, token } => {
                http::say(*at, path, Some(token), message).await.data();
            }
        }
    }

    /// Sends what is refused for this reason, in the words of each protocol.
    pub async fn be_refused(self, message: &Message, code: &str) {
        match self {
            Voice::Mqtt(mut mqtt) => {
                let (topic, payload) = (chat::topic(message).to_owned(), chat::encode(message));
                let ack = mqtt.publish(&topic, payload, QoS::AtLeastOnce).await.unwrap();
                assert_ne!(ack.reason, ReasonCode::Success, "{message:?}");
                let said = format!("{:?}", ack.properties);
                assert!(said.contains(code), "{code}: {said}");
            }
            Voice::Stomp(mut page) => {
                page.start_say(message).await;
                let error = page.error().await;
                assert_eq!(error.get("code"), Some(code), "{error:?}");
            }
            Voice::Http { at, path, token } => {
                let status = match code {
                    "forbidden" => 403,
                    "not-found" => 404,
                    "conflict" => 409,
                    other => panic!("no status stands for {other}"),
                };
                http::say(at, path, Some(&token), message)
                    .await
                    .assert_error(status);
            }
        }
    }
}
