//! The scenarios against a peer in memory: that a sound one passes, and that each mistake is found.

use std::time::Duration;

use tokio::task::LocalSet;

use super::pairs::Content;
use super::peer::{self, Mistake};
use super::{Bench, fanout, pairs, stomp};
use crate::link::Target;
use crate::process::Processes;
use crate::report::Outcome;
use crate::token::Signer;

/// Long patience where nothing is missing: a busy machine is no mistake of the peer's.
fn bench(mistake: Mistake) -> Bench {
    let sound = matches!(mistake, Mistake::Nothing | Mistake::Repeat(_) | Mistake::Delay(_));
    Bench {
        run_id: "test".into(),
        label: "peer".into(),
        processes: Processes {
            server: vec![std::process::id()],
            ..Processes::default()
        },
        signer: Some(Signer::for_tests()),
        seconds: Duration::from_millis(100),
        patience: Duration::from_secs(if sound { 15 } else { 1 }),
    }
}

fn options(qos: u8, payload: Content) -> pairs::Options {
    pairs::Options {
        pairs: 3,
        window: 4,
        size: 200,
        qos,
        payload,
    }
}

async fn target(mistake: Mistake) -> Target {
    Target::resolve(&format!("mqtt://{}", peer::start(mistake).await))
        .await
        .unwrap()
}

async fn measure_pairs(mistake: Mistake, options: pairs::Options, rate: Option<u64>) -> Outcome {
    let measuring = async {
        let target = target(mistake).await;
        pairs::measure(&bench(mistake), &target, &options, rate)
            .await
            .unwrap()
    };
    LocalSet::new().run_until(measuring).await
}

fn assert_whole(outcome: &Outcome) {
    assert!(outcome.sound() && outcome.sent > 20, "{outcome:?}");
    assert_eq!(
        (outcome.delivered, outcome.duplicates),
        (outcome.sent, 0),
        "{outcome:?}"
    );
    assert!(
        outcome.latency_ms.is_some_and(|latency| latency.p50 > 0.0),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn pairs_on_a_sound_peer_lose_nothing_at_either_qos() {
    assert_whole(&measure_pairs(Mistake::Nothing, options(1, Content::Opaque), None).await);
    assert_whole(&measure_pairs(Mistake::Nothing, options(0, Content::Opaque), None).await);
}

#[tokio::test]
async fn an_open_loop_sends_at_its_rate() {
    let outcome = measure_pairs(Mistake::Nothing, options(1, Content::Opaque), Some(2_000)).await;
    assert!(
        outcome.sound() && outcome.delivered == outcome.sent,
        "{outcome:?}"
    );
    let due = 2_000.0 * (outcome.seconds + 0.01) + 3.0;
    assert!(outcome.sent > 3 && outcome.sent as f64 <= due, "{outcome:?}");
}

#[tokio::test]
async fn a_lost_message_is_found_at_either_qos() {
    for qos in [0, 1] {
        let outcome = measure_pairs(Mistake::Lose(20), options(qos, Content::Opaque), None).await;
        assert_eq!(
            (outcome.lost, outcome.reordered, outcome.sound()),
            (1, 0, false),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_late_message_is_found() {
    let outcome = measure_pairs(Mistake::Delay(20), options(1, Content::Opaque), None).await;
    assert_eq!(
        (outcome.lost, outcome.reordered, outcome.sound()),
        (0, 1, false),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_repeated_message_is_counted_and_allowed() {
    let outcome = measure_pairs(Mistake::Repeat(20), options(1, Content::Opaque), None).await;
    assert_eq!(
        (outcome.duplicates, outcome.delivered, outcome.sound()),
        (1, outcome.sent, true),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_missing_acknowledgement_is_found() {
    let outcome = measure_pairs(Mistake::ForgetAck(20), options(1, Content::Opaque), None).await;
    assert_eq!(
        (outcome.lost, outcome.unacknowledged, outcome.sound()),
        (0, 1, false),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn chat_pairs_check_messages_and_echoes() {
    assert_whole(&measure_pairs(Mistake::Nothing, options(1, Content::Chat), None).await);
    let outcome = measure_pairs(Mistake::Lose(20), options(1, Content::Chat), None).await;
    assert_eq!(outcome.lost, 2, "the message and its echo: {outcome:?}");
}

async fn measure_stomp(mistake: Mistake, rate: Option<u64>) -> Outcome {
    let measuring = async {
        let address = peer::start(mistake).await;
        let mqtt = Target::resolve(&format!("mqtt://{address}")).await.unwrap();
        let visitors = Target::resolve(&format!("ws://{address}/stomp")).await.unwrap();
        let options = stomp::Options {
            pairs: 3,
            window: 4,
            size: 200,
            rate,
        };
        stomp::measure(&bench(mistake), &mqtt, &visitors, &options)
            .await
            .unwrap()
    };
    LocalSet::new().run_until(measuring).await
}

#[tokio::test]
async fn visitors_on_stomp_and_agents_on_mqtt_reach_each_other() {
    assert_whole(&measure_stomp(Mistake::Nothing, None).await);
    let paced = measure_stomp(Mistake::Nothing, Some(2_000)).await;
    assert!(paced.sound() && paced.delivered == paced.sent, "{paced:?}");
    assert_eq!(
        measure_stomp(Mistake::Lose(20), None).await.lost,
        2,
        "the message and its echo"
    );
}

#[tokio::test]
async fn a_fan_out_counts_every_delivery() {
    let measuring = async {
        let options = fanout::Options {
            subscribers: 20,
            window: 4,
            size: 200,
            qos: 1,
        };
        fanout::measure(
            &bench(Mistake::Nothing),
            &target(Mistake::Nothing).await,
            &options,
        )
        .await
        .unwrap()
    };
    let outcome = LocalSet::new().run_until(measuring).await;
    assert!(outcome.sound() && outcome.sent > 0, "{outcome:?}");
    assert_eq!(outcome.delivered, 20 * outcome.sent, "{outcome:?}");
}
