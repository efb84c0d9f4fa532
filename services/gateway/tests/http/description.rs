use axum::body::Body;
use http::Method;
use serde_json::Value;

use crate::schema::check;
use crate::world::World;

async fn description(w: &World) -> Value {
    w.get("/openapi.json", None).await.json()
}

#[tokio::test]
async fn every_described_call_is_there_with_its_methods_and_no_other() {
    let w = World::new();
    let description = description(&w).await;
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, item) in description["paths"].as_object().unwrap() {
        let wrong = w.ask(Method::PATCH, path, None, Body::empty()).await;
        wrong.assert_error(405, "method-not-allowed", "Allow");
        let allowed = wrong.headers["allow"].to_str().unwrap().to_ascii_lowercase();
        let mut allowed: Vec<_> = allowed
            .split(',')
            .map(str::trim)
            .filter(|m| *m != "head")
            .collect();
        allowed.sort_unstable();
        let described: Vec<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(allowed, described, "{path}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_example_is_what_it_is_an_example_of() {
    let description = description(&World::new()).await;
    let mut examples = 0;
    visit(&description, &mut |value| {
        if let Some(target) = value["$ref"].as_str() {
            assert!(
                description.pointer(target.trim_start_matches('#')).is_some(),
                "{target}"
            );
        }
        if value.get("example").is_some() && value.get("schema").is_none() {
            examples += 1;
            check(&description, value, &value["example"]).unwrap_or_else(|why| panic!("{why} in {value}"));
        }
    });
    assert!(examples >= 6, "{examples}");
}

fn visit(value: &Value, f: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            f(value);
            members
                .iter()
                .filter(|(name, _)| *name != "example")
                .for_each(|(_, v)| visit(v, f));
        }
        Value::Array(items) => items.iter().for_each(|v| visit(v, f)),
        _ => {}
    }
}

#[tokio::test]
async fn the_examples_of_requests_are_answered() {
    let w = World::new();
    let description = description(&w).await;
    let mut answered = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"];
        let Some(name) = schema["$ref"].as_str() else {
            continue;
        };
        let target = description.pointer(name.trim_start_matches('#')).unwrap();
        let Some(example) = target.get("example") else {
            continue;
        };
        // One message for agents and visitors: in one world the second would use the uid of the first.
        let w = World::new();
        let token = path.starts_with("/api/").then(|| w.agent());
        // The conversation that some are about.
        let visit = serde_json::json!({"uid": "1418711693000834", "sid": "df_wg_uid", "type": "1"});
        w.post("/visitor/api/v1/thread", None, visit).await.data();
        let reply = w.post(path, token.as_deref(), example.clone()).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        answered += 1;
    }
    assert!(answered >= 5, "{answered}");
}

#[tokio::test]
async fn every_call_says_how_errors_look_and_who_needs_a_token() {
    let description = description(&World::new()).await;
    for (path, item) in description["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(operation["responses"]["default"].is_object(), "{path}");
            assert!(operation["summary"].is_string(), "{path}");
            let token_only = operation["security"] == serde_json::json!([{"token": []}]);
            assert_eq!(token_only, path.starts_with("/api/"), "{path}");
        }
    }
}

#[tokio::test]
async fn every_call_has_a_name_of_its_own() {
    let description = description(&World::new()).await;
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(
                names.insert(name),
                "{method} {path}: {}",
                operation["operationId"]
            );
        }
    }
}

#[tokio::test]
async fn the_first_page_names_the_calls_and_loads_nothing() {
    let page = World::new().get("/", None).await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(page.text.contains("/visitor/api/v1/message/send") && page.text.contains("agent1"));
    assert!(!page.text.contains("{{") && !page.text.contains("src=") && !page.text.contains("http://"));
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("default-src 'none'")
    );
}
