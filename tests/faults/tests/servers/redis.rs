//! Redis is emptied, dies, comes back empty.

use std::time::Duration;

use e2e::agent_token;
use faults::{Trial, plan, small};
use testkit::http;

/// I10 for presence.
const BACK: Duration = Duration::from_secs(30);

/// X23: FLUSHALL; then kill -9 and a return with nothing. Messages are not concerned. While Redis is away presence is unknown
/// (503). Budget: 30 s until presence is right again, both times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_x23_redis_is_emptied_and_dies() {
    let mut trial = Trial::start(small(), plan()).await;
    let token = agent_token(trial.server()).await;
    let path = "/api/v1/connection/presence/agent1";
    let asked = async || http::get(trial.server().at().http, path, Some(&token)).await;
    let online = async || {
        let reply = asked().await;
        (reply.status == 200 && reply.json()["data"]["online"] == true).then_some(())
    };
    trial.recovers("the agent is online", BACK, online).await;
    trial.redis().command("FLUSHALL").await;
    trial.recovers("online again after FLUSHALL", BACK, online).await;
    trial.redis().kill().await;
    trial
        .recovers("presence is unknown", BACK, async || {
            (asked().await.status == 503).then_some(())
        })
        .await;
    trial.wait_for(100).await;
    trial.redis().restart().await;
    trial
        .recovers("online again after its return", BACK, online)
        .await;
    trial.verdict("X23", Duration::from_secs(3)).await;
}
