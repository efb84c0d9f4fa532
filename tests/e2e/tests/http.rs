//! The HTTP calls: history that meets the live stream, pages, threads, presence, and how errors look.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::collections::BTreeSet;

use e2e::{
    agent, agent_options, agent_token, encode, field, history, messages, position, thread_of, visitor,
    visitor_token,
};
use hyper::Method;
use serde_json::{Value, json};
use testkit::chat::{self, DESK};
use testkit::mqtt::Mqtt;
use testkit::{DEADLINE, Longwire, eventually, http};

#[tokio::test]
async fn history_and_the_live_stream_meet_without_a_gap() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let mut agent = agent(&server).await;
    for round in 0..5 {
        let mut page = visitor(&server, "v1").await;
        let writer = async {
            for n in 0..60 {
                agent
                    .say(&chat::text(&topic, DESK, &format!("{round}-{n}")))
                    .await;
            }
        };
        let reader = async {
            // Somewhere in the middle of it.
            for _ in 0..10 * (round + 1) {
                page.hear().await;
            }
            let mut all = Vec::new();
            let mut after = "0".to_owned();
            loop {
                let data = messages(&server, &token, &topic, &format!("after={after}&limit=100"))
                    .await
                    .data();
                all.extend(data["content"].as_array().unwrap().iter().cloned());
                if data["more"] != true {
                    return (
                        all,
                        field(&data, "head")
                            .parse::<u64>()
                            .expect("head is a decimal string"),
                    );
                }
                field(&data, "next").clone_into(&mut after);
            }
        };
        let ((), (stored, head)) = futures::join!(writer, reader);
        let mut known: BTreeSet<u64> = stored.iter().map(position).collect();
        assert_eq!(known.len(), stored.len(), "no message is twice in history");
        assert!(stored.is_sorted_by_key(position), "ascending");
        // Whatever was live and is newer than `head` completes it.
        let expected = (round + 1) * 60;
        while known.len() < expected {
            let heard = page.hear().await;
            if position(&heard) > head {
                known.insert(position(&heard));
            } else {
                assert!(
                    known.contains(&position(&heard)),
                    "everything up to head is included: {heard}"
                );
            }
        }
        let complete: BTreeSet<u64> = history(&server, &token, &topic)
            .await
            .iter()
            .map(position)
            .collect();
        assert_eq!(
            known, complete,
            "history up to head and the live stream after it are everything"
        );
        page.disconnect().await;
    }
}

#[tokio::test]
async fn messages_are_paged_in_both_directions() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    for n in 0..250 {
        agent.say(&chat::text(&topic, DESK, &n.to_string())).await;
    }
    let contents = |data: &Value| {
        let content = data["content"].as_array().unwrap();
        content
            .iter()
            .map(|m| field(m, "content").to_owned())
            .collect::<Vec<_>>()
    };
    let numbers = |range: std::ops::Range<u32>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    let mut forward = Vec::new();
    let mut query = "after=0&limit=100".to_owned();
    loop {
        let data = messages(&server, &token, &topic, &query).await.data();
        forward.extend(contents(&data));
        if data["more"] != true {
            break;
        }
        query = format!("after={}&limit=100", field(&data, "next"));
    }
    assert_eq!(forward, numbers(0..250));
    // Backwards from the end: each page is ascending in itself.
    let last = history(&server, &token, &topic).await.pop().unwrap();
    let mut query = format!("before={}&limit=100", position(&last));
    for expected in [numbers(149..249), numbers(49..149), numbers(0..49)] {
        let data = messages(&server, &token, &topic, &query).await.data();
        assert_eq!(contents(&data), expected);
        assert_eq!(data["more"], expected.len() == 100, "{}", data["more"]);
        query = format!("before={}&limit=100", field(&data, "next"));
    }
    for query in [
        "after=0&limit=501",
        "after=x&limit=1",
        "after=0&before=5&limit=1",
        "after=0&limit=-1",
    ] {
        messages(&server, &token, &topic, query).await.assert_error(400);
    }
    // The pages of old clients: numbered from 0, newest first.
    let path = format!(
        "/api/v1/message/query/topic?topic={}&pageNumber=1&pageSize=100",
        encode(&topic)
    );
    let page = http::get(server.at().http, &path, Some(&token)).await.data();
    assert_eq!(
        (page["number"].as_u64(), page["size"].as_u64()),
        (Some(1), Some(100))
    );
    assert_eq!(
        (page["totalElements"].as_u64(), page["totalPages"].as_u64()),
        (Some(250), Some(3))
    );
    assert_eq!(
        (&page["first"], &page["last"], &page["empty"]),
        (&json!(false), &json!(false), &json!(false))
    );
    let mut page = contents(&page);
    page.reverse();
    assert_eq!(page, numbers(50..150));
}

#[tokio::test]
async fn the_same_message_may_come_as_text_in_json_or_as_it_is() {
    let server = Longwire::start().await;
    let at = server.at().http;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let message = chat::text(&topic, "v1", "as it is");
    for path in ["/visitor/api/v1/message/send", "/api/v1/message/rest/send"] {
        for body in [
            chat::to_json(&message),
            json!({ "json": chat::to_json(&message).to_string(), "client": "WEB" }),
        ] {
            let data = http::post(at, path, Some(&token), &body).await.data();
            let stored: Value = serde_json::from_str(data.as_str().expect("JSON as text")).unwrap();
            assert_eq!(stored["uid"], message.uid.as_str());
            assert_eq!(stored["status"], "SUCCESS");
            chat::assert_is_time(field(&stored, "createdAt"));
            assert!(position(&stored) > 0);
        }
    }
    assert_eq!(history(&server, &token, &topic).await.len(), 1);
}

#[tokio::test]
async fn an_anonymous_visitor_writes_over_http_to_its_own_thread_only() {
    let server = Longwire::start().await;
    let at = server.at().http;
    let message = chat::text(&thread_of("v1"), "v1", "no token");
    http::say(at, "/visitor/api/v1/message/send", None, &message)
        .await
        .data();
    let other = chat::text(&thread_of("v2"), "v1", "no token");
    http::say(at, "/visitor/api/v1/message/send", None, &other)
        .await
        .assert_error(403);
    http::say(at, "/api/v1/message/rest/send", None, &message)
        .await
        .assert_error(401);
}

#[tokio::test]
async fn init_gives_a_visitor_an_identity_and_keeps_a_known_one() {
    let server = Longwire::start().await;
    let at = server.at().http;
    let body = json!({ "orgUid": chat::ORG, "nickname": "Ann", "avatar": "a.png", "lang": "zh-cn", "browser": "x", "extra": "{}" });
    let first = http::post(at, "/visitor/api/v1/init", None, &body).await.data();
    let uid = field(&first, "uid");
    assert!(!uid.is_empty() && first["uid"] == first["visitorUid"]);
    assert_eq!(
        (field(&first, "nickname"), field(&first, "orgUid")),
        ("Ann", chat::ORG)
    );
    let token = field(&first, "accessToken");
    assert!(!token.is_empty());
    let other = http::post(at, "/visitor/api/v1/init", None, &body).await.data();
    assert_ne!(other["uid"], first["uid"], "another visitor is another");
    let known = json!({ "orgUid": chat::ORG, "uid": uid, "nickname": "Ann" });
    let again = http::post(at, "/visitor/api/v1/init", Some(token), &known)
        .await
        .data();
    assert_eq!(again["uid"], first["uid"]);
    let topic = thread_of(uid);
    http::say(
        at,
        "/visitor/api/v1/message/send",
        Some(token),
        &chat::text(&topic, uid, "hi"),
    )
    .await
    .data();
    let thread = json!({ "uid": uid, "orgUid": chat::ORG, "sid": DESK, "type": "0" });
    let opened = http::post(at, "/visitor/api/v1/thread", Some(token), &thread)
        .await
        .data();
    assert_eq!(opened["thread"]["topic"], topic.as_str());
    let unknown = json!({ "uid": uid, "orgUid": chat::ORG, "sid": "no_such_desk", "type": "0" });
    http::post(at, "/visitor/api/v1/thread", Some(token), &unknown)
        .await
        .assert_error(404);
}

#[tokio::test]
async fn nobody_gets_a_token_for_a_visitor_by_naming_it_where_visitors_need_one() {
    let server = Longwire::builder()
        .config("[auth]\nanonymous_visitors = false\n")
        .start()
        .await;
    let at = server.at().http;
    let claim = json!({ "orgUid": chat::ORG, "uid": "v1" });
    let reply = http::post(at, "/visitor/api/v1/init", None, &claim).await;
    let given = reply.status == 200 && reply.data()["uid"] == "v1";
    assert!(
        !given,
        "a token for v1 is given to whoever knows its name: {}",
        reply.text
    );
    let token = visitor_token(&server, "v2").await;
    let reply = http::post(at, "/visitor/api/v1/init", Some(&token), &claim).await;
    let given = reply.status == 200 && reply.data()["uid"] == "v1";
    assert!(!given, "a token for v1 is given to v2: {}", reply.text);
    let thread = json!({ "uid": "v1", "orgUid": chat::ORG, "sid": DESK, "type": "0" });
    http::post(at, "/visitor/api/v1/thread", Some(&token), &thread)
        .await
        .assert_error(403);
}

#[tokio::test]
async fn threads_are_listed_with_their_last_message() {
    let server = Longwire::start().await;
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    for n in 0..15 {
        agent
            .say(&chat::text(&thread_of(&format!("v{n}")), DESK, &n.to_string()))
            .await;
    }
    let mut topics = BTreeSet::new();
    eventually("all threads are listed", DEADLINE, async || {
        topics.clear();
        for number in 0..2 {
            let path = format!("/api/v1/thread/query?pageNumber={number}&pageSize=10");
            let page = http::get(server.at().http, &path, Some(&token)).await.data();
            for thread in page["content"].as_array().unwrap() {
                let topic = field(thread, "topic").to_owned();
                assert!(thread.to_string().contains(topic.rsplit('v').next().unwrap()));
                topics.insert(topic);
            }
        }
        (topics.len() == 15).then_some(())
    })
    .await;
}

#[tokio::test]
async fn presence_follows_the_connections_of_a_user() {
    let server = Longwire::start().await;
    let token = agent_token(&server).await;
    let path = "/api/v1/connection/presence/u_agent";
    let becomes = async |online: bool, count: u64| {
        let what = format!("presence is {online}, {count}");
        eventually(&what, DEADLINE, async || {
            let data = http::get(server.at().http, path, Some(&token)).await.data();
            (data["online"] == online && data["activeCount"] == count).then_some(())
        })
        .await;
    };
    becomes(false, 0).await;
    let first = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    becomes(true, 1).await;
    let second = Mqtt::connect(&server, agent_options(&token, "d2")).await;
    becomes(true, 2).await;
    first.disconnect().await;
    becomes(true, 1).await;
    second.vanish();
    becomes(false, 0).await;
    let page = visitor(&server, "v1").await;
    let path = "/api/v1/connection/presence/v1";
    eventually("the visitor is online", DEADLINE, async || {
        let data = http::get(server.at().http, path, Some(&token)).await.data();
        (data["online"] == true).then_some(())
    })
    .await;
    drop(page);
}

#[tokio::test]
async fn errors_have_the_real_status_and_the_envelope() {
    let mut server = Longwire::start().await;
    let at = server.at().http;
    let token = agent_token(&server).await;
    let send = "/api/v1/message/rest/send";
    for body in [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "{\"json\":5}",
        "{\"json\":\"not json\"}",
        "{\"json\":\"{}\"}",
        "{\"uid\":\"u\",\"type\":\"TEXT\",\"content\":\"no thread\"}",
        "{\"uid\":\"\",\"type\":\"TEXT\",\"thread\":{\"topic\":\"org/agent/df_ag_uid/v1\"}}",
        "{\"uid\":\"u\",\"type\":\"TEXT\",\"thread\":{\"topic\":\"ordinary/topic\"}}",
        "{\"uid\":\"u\",\"type\":\"TEXT\",\"thread\":\"org/agent/df_ag_uid/v1\"}",
    ] {
        let reply = http::send(at, Method::POST, send, Some(&token), Some(body.to_owned())).await;
        reply.assert_error(400);
    }
    let huge = chat::text(&thread_of("v1"), DESK, &"x".repeat(300 * 1024));
    http::say(at, send, Some(&token), &huge).await.assert_error(413);
    http::get(at, "/api/v1/no/such/call", Some(&token))
        .await
        .assert_error(404);
    let allowed = chat::text(&thread_of("v1"), DESK, &"x".repeat(200 * 1024));
    http::say(at, send, Some(&token), &allowed).await.data();
    server.assert_unhurt();
}

#[tokio::test]
async fn the_demo_and_the_description_of_the_calls_are_served() {
    let server = Longwire::start().await;
    let at = server.at().http;
    let page = http::get(at, "/", None).await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let api = http::get(at, "/openapi.json", None).await;
    assert_eq!(api.status, 200);
    let paths = api.json()["paths"].as_object().unwrap().clone();
    for path in [
        "/auth/v1/login",
        "/visitor/api/v1/init",
        "/visitor/api/v1/thread",
        "/api/v1/messages",
        "/api/v1/thread/query",
    ] {
        assert!(paths.contains_key(path), "{path} is described");
    }
}
