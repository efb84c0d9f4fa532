use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use gateway::Config;
use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, ORIGIN};
use serde_json::json;
use tower::ServiceExt;

use crate::world::{Setup, TOPIC, World, text};

const SEND: &str = "/visitor/api/v1/message/send";
const COUNT: &str = "/api/v1/message/unread/count";

fn with(config: Config) -> World {
    World::with(Setup {
        config,
        ..Setup::default()
    })
}

#[tokio::test]
async fn a_message_of_the_limit_passes_and_a_larger_one_does_not() {
    let w = World::new();
    let of = |uid: &str, size: usize| text(uid, TOPIC, "v1", &"x".repeat(size));
    let room = 256 * 1024 - of("m1", 0).to_string().len();
    w.say(None, &of("m1", room)).await.data();
    w.say(None, &of("m2", room + 1))
        .await
        .assert_error(413, "payload-too-large", "262144");
    w.post(SEND, None, of("m3", room + 1))
        .await
        .assert_error(413, "payload-too-large", "262144");
    let huge = Body::from(vec![b' '; 1 << 20]);
    w.ask(Method::POST, SEND, None, huge)
        .await
        .assert_error(413, "payload-too-large", "allowed");
    let chunks = futures::stream::iter((0..1024).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
    w.ask(Method::POST, SEND, None, Body::from_stream(chunks))
        .await
        .assert_error(413, "payload-too-large", "allowed");
    let announced = Request::post(SEND)
        .header(CONTENT_LENGTH, "99999999")
        .body(Body::empty())
        .unwrap();
    w.exchange(announced)
        .await
        .assert_error(413, "payload-too-large", "allowed");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let w = World::new();
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    w.ask(Method::POST, SEND, None, Body::from_stream(never))
        .await
        .assert_error(408, "timeout", "in time");
}

#[tokio::test]
async fn a_user_that_asks_too_fast_is_told_how_long_to_wait() {
    let w = with(Config {
        user_rate: 2,
        ..Config::default()
    });
    let agent = w.agent();
    w.get(COUNT, Some(&agent)).await.data();
    w.get(COUNT, Some(&agent)).await.data();
    let refused = w.get(COUNT, Some(&agent)).await;
    refused.assert_error(429, "rate-limited", "Retry-After");
    assert_eq!(refused.headers["retry-after"], "1");
    w.get(COUNT, Some(&w.visitor("v1"))).await.data();
    w.say(None, &text("m", TOPIC, "v2", "x"))
        .await
        .assert_error(403, "forbidden", "v2");
    w.clock.advance(Duration::from_secs(1));
    w.get(COUNT, Some(&agent)).await.data();
}

#[tokio::test]
async fn an_address_has_a_rate_of_its_own() {
    let w = with(Config {
        address_rate: 1,
        ..Config::default()
    });
    let from = |address: &str| {
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo(address.parse::<SocketAddr>().unwrap()));
        request
    };
    assert_eq!(w.exchange(from("10.0.0.1:1")).await.status, 200);
    w.exchange(from("10.0.0.1:2"))
        .await
        .assert_error(429, "rate-limited", "Retry-After");
    assert_eq!(w.exchange(from("10.0.0.2:1")).await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_envelope() {
    let w = World::new();
    w.get("/api/v1/nothing", None)
        .await
        .assert_error(404, "not-found", "/api/v1/nothing");
    let wrong = w.ask(Method::DELETE, SEND, None, Body::empty()).await;
    wrong.assert_error(405, "method-not-allowed", "DELETE");
    assert_eq!(wrong.headers["allow"], "POST");
}

#[tokio::test]
async fn another_router_may_stand_on_the_same_listener() {
    let w = World::new();
    let beside = axum::Router::new().route("/stomp", axum::routing::get(async || "a socket"));
    let router = w.service.router().merge(beside);
    let ask = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(
        [ask("/stomp").await, ask("/openapi.json").await, ask("/x").await],
        [200, 200, 404]
    );
}

#[tokio::test]
async fn a_server_that_leaves_says_so() {
    let w = World::new();
    w.stop.stop_softly();
    w.say(None, &text("m", TOPIC, "v1", "x"))
        .await
        .assert_error(503, "server-draining", "leaving");
    assert!(w.log.entries.lock().is_empty());
}

#[tokio::test]
async fn pages_of_the_configured_origins_may_call() {
    let preflight = |origin: &str| {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri(SEND)
            .header(ORIGIN, origin);
        request
            .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .body(Body::empty())
            .unwrap()
    };
    let any = World::new().exchange(preflight("https://shop.example")).await;
    assert_eq!(
        (any.status, &any.headers["access-control-allow-origin"]),
        (200, &"*".parse().unwrap())
    );
    let w = with(Config {
        cors_origins: vec!["https://shop.example".to_owned()],
        ..Config::default()
    });
    let shop = w.exchange(preflight("https://shop.example")).await;
    assert_eq!(
        shop.headers["access-control-allow-origin"],
        "https://shop.example"
    );
    let other = w.exchange(preflight("https://other.example")).await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let w = World::new();
    w.get("/api/v1/connection/presence/x", Some(&w.agent()))
        .await
        .data();
    w.get("/nowhere", None)
        .await
        .assert_error(404, "not-found", "nowhere");
    w.post("/auth/v1/login", None, json!({}))
        .await
        .assert_error(401, "unauthorized", "password");
    let series = w.metrics.encode();
    for line in [
        "longwire_gateway_requests_total{route=\"/api/v1/connection/presence/{uid}\",status=\"200\"} 1",
        "longwire_gateway_requests_total{route=\"none\",status=\"404\"} 1",
        "longwire_gateway_requests_total{route=\"/auth/v1/login\",status=\"401\"} 1",
        "longwire_gateway_request_duration_seconds_count{route=\"/auth/v1/login\"} 1",
    ] {
        assert!(series.contains(line), "{line} is not in {series}");
    }
}
