//! A gateway over fakes, and how it is asked.

use std::sync::Arc;
use std::time::Duration;

use auth::{Acl, AclConfig, Claims, KeyRing, Signer, Verifier};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use backplane::bus::EmbeddedBus;
use backplane::lease::EmbeddedLeases;
use edge::{Core, Outside};
use gateway::{Config, Deps, Service};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use jiff::tz::TimeZone;
use model::{Partitioning, Role};
use runtime::clock::{Clock, ManualClock};
use runtime::config::Secret;
use runtime::lifecycle::{Stop, Tasks};
use runtime::metrics::Metrics;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::fakes::{Book, Store};
use crate::log::Log;
use crate::schema;

/// 2026-01-31 12:21:50 in Shanghai.
pub const NOW: u64 = 1_769_833_310_000;
pub const ORG: &str = "df_org_uid";
/// The conversation of most tests.
pub const TOPIC: &str = "org/agent/df_ag_uid/v1";

pub struct World {
    pub log: Arc<Log>,
    pub store: Arc<Store>,
    pub book: Arc<Book>,
    pub stop: Stop,
    pub metrics: Metrics,
    pub clock: ManualClock,
    pub signer: Arc<Signer>,
    pub service: Service,
    router: Router,
}

/// What is different in a test's world.
pub struct Setup {
    pub config: Config,
    pub anonymous: bool,
    pub signs: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let config = Config {
            dev_login: Some(true),
            ..Config::default()
        };
        Self {
            config,
            anonymous: true,
            signs: true,
        }
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    /// Where visitors need tokens.
    pub fn strict() -> Self {
        Self::with(Setup {
            anonymous: false,
            ..Setup::default()
        })
    }

    pub fn with(setup: Setup) -> Self {
        let auth = auth::Config {
            secret: Secret::new("0123456789abcdef0123456789abcdef"),
            anonymous_visitors: Some(setup.anonymous),
            ..auth::Config::default()
        };
        let (clock, hand) = Clock::manual(NOW);
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        let metrics = Metrics::new();
        let log = Log::new();
        let store = Arc::new(Store::new(log.clone()));
        let book = Arc::new(Book::default());
        let keys = Arc::new(KeyRing::build(&auth).unwrap());
        let outside = Outside {
            journal: log.clone(),
            routing: log.clone(),
            bus: Arc::new(EmbeddedBus::default()),
            leases: Arc::new(EmbeddedLeases::new()),
            presence: book.clone(),
            persistence: store.clone(),
            verifier: Arc::new(Verifier::new(&auth, keys, clock.clone())),
            acl: Acl::new(&AclConfig::default()),
            partitioning: Partitioning::new(2),
            zone: zone.clone(),
            clock,
            health: runtime::health::Health::new(),
            metrics: metrics.service("gateway_edge"),
            role: "gateway",
        };
        let core = Core::new(edge::Config::default(), outside);
        core.start(&Tasks::new(Stop::new()));
        let signer = Arc::new(Signer::new(&auth).unwrap());
        let stop = Stop::new();
        let deps = Deps {
            core,
            receipts: store.clone(),
            signer: setup.signs.then(|| signer.clone()),
            default_org: ORG.into(),
            anonymous_visitors: setup.anonymous,
            zone,
            stop: stop.clone(),
            metrics: metrics.service("gateway"),
        };
        let service = Service::new(setup.config, deps);
        let router = service.router();
        Self {
            log,
            store,
            book,
            stop,
            metrics,
            clock: hand,
            signer,
            service,
            router,
        }
    }

    /// A token of an hour.
    pub fn token(&self, uid: &str, role: Role, aliases: &[&str]) -> String {
        self.token_in(ORG, uid, role, aliases)
    }

    pub fn token_in(&self, org: &str, uid: &str, role: Role, aliases: &[&str]) -> String {
        let mut claims = Claims::new(uid, role).valid_for(NOW / 1000, 3600);
        claims.org = Some(org.to_owned());
        claims.aliases = aliases.iter().map(|&a| a.to_owned()).collect();
        self.signer.sign(&claims)
    }

    /// The token of the first desk's agent.
    pub fn agent(&self) -> String {
        self.token("agent1", Role::Agent, &["df_ag_uid"])
    }

    pub fn visitor(&self, uid: &str) -> String {
        self.token(uid, Role::Visitor, &[])
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Reply {
        self.ask(Method::GET, path, token, Body::empty()).await
    }

    pub async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Reply {
        self.ask(Method::POST, path, token, Body::from(body.to_string()))
            .await
    }

    /// Sends a message as deployed clients do.
    pub async fn say(&self, token: Option<&str>, message: &Value) -> Reply {
        let body = json!({ "json": message.to_string(), "client": "WEB" });
        self.post("/visitor/api/v1/message/send", token, body).await
    }

    /// Any request. A call's answer is checked against the description.
    pub async fn ask(&self, method: Method, path: &str, token: Option<&str>, body: Body) -> Reply {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .unwrap();
        let reply = self.exchange(request).await;
        if reply.status == 200 && method != Method::HEAD {
            let description = self
                .exchange(Request::get("/openapi.json").body(Body::empty()).unwrap())
                .await;
            schema::describe(&description.text);
            schema::check_answer(&method, path, &reply.text);
        }
        reply
    }

    /// Any request, as it is.
    pub async fn exchange(&self, request: Request) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Reply {
            status,
            headers,
            text: String::from_utf8(body.into()).unwrap(),
        }
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text))
    }

    /// `data` of a success.
    #[track_caller]
    pub fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        let mut json = self.json();
        assert_eq!(json["code"], 200);
        json["data"].take()
    }

    /// The message of a success whose `data` is one as JSON text.
    #[track_caller]
    pub fn message(&self) -> Value {
        serde_json::from_str(self.data().as_str().expect("data is text")).unwrap()
    }

    /// Checks an error: its status, its code for machines, and a word in what it says.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str, named: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        let json = self.json();
        assert_eq!((&json["code"], &json["data"]), (&json!(status), &json!(false)));
        assert_eq!(json.as_object().unwrap().len(), 3, "{}", self.text);
        assert_eq!(self.headers["longwire-code"], code, "{}", self.text);
        let message = json["message"].as_str().unwrap();
        assert!(message.contains(named), "{named:?} is not in {message:?}");
        let temporary = matches!(status, 429 | 503 | 504);
        assert_eq!(self.headers.contains_key("retry-after"), temporary);
    }
}

/// A TEXT of an author in a topic.
pub fn text(uid: &str, topic: &str, author: &str, content: &str) -> Value {
    message("TEXT", uid, topic, author, content)
}

pub fn message(kind: &str, uid: &str, topic: &str, author: &str, content: &str) -> Value {
    json!({
        "uid": uid, "type": kind, "content": content, "status": "SENDING", "createdAt": "2026-01-31T04:21:50.000Z",
        "channel": "HTTP", "extra": "{\"orgUid\":\"df_org_uid\"}",
        "thread": { "uid": "t1", "topic": topic, "type": "AGENT" },
        "user": { "uid": author, "nickname": "N", "avatar": "", "type": "VISITOR" },
    })
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert!(waited.is_ok(), "{what} does not happen");
}
