//! Clients as they are deployed: the code of the guides, and the stock libraries of three languages.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::time::Duration;

use testkit::{Longwire, program};

const DEADLINE: Duration = Duration::from_secs(150);

async fn node(script: &str, args: &[&str]) {
    let mut server = Longwire::start().await;
    let mut command = program::node(&server, &format!("scenarios/{script}"));
    command.args(args);
    program::succeed(command, DEADLINE).await;
    server.assert_unhurt();
}

async fn python(args: &[&str]) {
    let mut server = Longwire::start().await;
    let mut command = program::python(&server, "python/stock.py");
    command.args(args);
    program::succeed(command, DEADLINE).await;
    server.assert_unhurt();
}

#[tokio::test]
async fn agent_visitor_and_http_talk_in_every_direction() {
    node("talk.mjs", &[]).await;
}

#[tokio::test]
async fn every_message_type_of_the_guides_passes_both_ways() {
    node("types.mjs", &[]).await;
}

#[tokio::test]
async fn a_conversation_is_handed_over_shared_closed_and_opened_again_by_the_code_of_the_guides() {
    node("threads.mjs", &[]).await;
}

#[tokio::test]
async fn a_thousand_messages_wait_for_the_agent_and_a_thousand_for_the_visitor() {
    node("offline.mjs", &[]).await;
}

#[tokio::test]
async fn an_agent_page_that_is_back_within_the_same_second_misses_nothing() {
    node("reconnect.mjs", &[]).await;
}

#[tokio::test]
async fn the_page_of_the_paho_notes_sends_and_receives() {
    node("paho.mjs", &[]).await;
}

#[tokio::test]
async fn the_mini_program_of_the_notes_hears_itself() {
    node("miniprogram.mjs", &[]).await;
}

#[tokio::test]
async fn mqtt_js_is_content_with_3_1_1_over_tcp() {
    node("stock-mqtt.mjs", &["4", "mqtt"]).await;
}

#[tokio::test]
async fn mqtt_js_is_content_with_3_1_1_over_websocket() {
    node("stock-mqtt.mjs", &["4", "ws"]).await;
}

#[tokio::test]
async fn mqtt_js_is_content_with_5_over_tcp() {
    node("stock-mqtt.mjs", &["5", "mqtt"]).await;
}

#[tokio::test]
async fn mqtt_js_is_content_with_5_over_websocket() {
    node("stock-mqtt.mjs", &["5", "wsMqtt"]).await;
}

#[tokio::test]
async fn paho_for_python_is_content_with_3_1_1_over_tcp() {
    python(&["4", "tcp"]).await;
}

#[tokio::test]
async fn paho_for_python_is_content_with_3_1_1_over_websocket() {
    python(&["4", "websockets"]).await;
}

#[tokio::test]
async fn paho_for_python_is_content_with_5_over_tcp() {
    python(&["5", "tcp"]).await;
}

#[tokio::test]
async fn paho_for_python_is_content_with_5_over_websocket() {
    python(&["5", "websockets"]).await;
}

#[tokio::test]
async fn stompjs_is_content_with_every_version_and_ack_mode() {
    node("stock-stomp.mjs", &[]).await;
}
