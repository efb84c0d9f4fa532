//! Large messages, many calls, and messages that are not ours.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use contract::ErrorKind;
use contract::persistence::{BacklogEntry, BacklogPage, BacklogRequest, SaveSession};
use model::{OrgId, PartitionId, Position, UserId};
use prost::Message as _;
use rpc::{Config, Services};
use runtime::config::ByteSize;
use support::{Caller, Fake, Mode, Replica, ask, key, quick, until};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

fn small() -> Config {
    Config {
        max_message: ByteSize::mib(16),
        ..quick()
    }
}

fn page(entries: usize, size: usize) -> BacklogPage {
    let entry = |i: usize| BacklogEntry {
        partition: PartitionId(0),
        position: Position(i as u64),
        prev: None,
        entry: Bytes::from(vec![b'x'; size]),
    };
    BacklogPage {
        entries: (0..entries).map(entry).collect(),
        covered: Vec::new(),
    }
}

fn asked() -> BacklogRequest {
    BacklogRequest {
        org: OrgId::from("o"),
        lanes: Vec::new(),
        filters: Vec::new(),
        max_entries: 1,
        max_bytes: 1,
    }
}

#[tokio::test]
async fn a_large_page_arrives_whole() {
    let replica = Replica::start(1);
    let caller = Caller::of(&[replica.address]);
    let large = page(640, 64 * 1024);
    replica.fake.will_answer(large.clone());
    assert_eq!(caller.persistence.backlog(asked()).await, Ok(large));
}

#[tokio::test]
async fn what_is_too_large_is_refused_on_either_side() {
    let replica = Replica::start_at(1, "127.0.0.1:0".parse().unwrap(), small());
    let caller = Caller::of(&[replica.address]);
    replica.fake.will_answer(page(3, 8 << 20));
    let error = caller.persistence.backlog(asked()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PayloadTooLarge, "{error}");
    let caller = Caller::with(&[replica.address], small());
    let who = vec![UserId::from("x".repeat(17 << 20))];
    let org = OrgId::from("o");
    let unread = caller.receipts.unread(&org, who, None);
    let error = unread.await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PayloadTooLarge, "{error}");
    assert_eq!(
        ask(&caller.receipts).await,
        Ok(1),
        "the connection is as good as before"
    );
}

#[tokio::test]
async fn more_sessions_than_a_message_holds_are_saved_in_parts() {
    let replica = Replica::start(1);
    let caller = Caller::with(&[replica.address], small());
    let save = |epoch| SaveSession {
        key: key(),
        epoch,
        state: Bytes::from(vec![0; 5 << 20]),
    };
    replica.fake.will_answer(vec![true, false, true]);
    replica.fake.will_answer(vec![true]);
    let taken = caller.persistence.save_sessions((0..4).map(save).collect()).await;
    assert_eq!(taken, Ok(vec![true, false, true, true]));
    assert_eq!(replica.fake.begun(), 2);
    assert_eq!(replica.fake.was_asked::<Vec<SaveSession>>().len(), 1);
}

#[tokio::test]
async fn one_call_too_many_is_refused_at_once() {
    let replica = Replica::start(1);
    let one = Config {
        max_calls: 1,
        ..quick()
    };
    let caller = Caller::with(&[replica.address], one.clone());
    caller.sees(1).await;
    replica.fake.set(Mode::Hang);
    let receipts = caller.receipts.clone();
    let held = tokio::spawn(async move { ask(&receipts).await });
    until("one is under way", || replica.fake.begun() == 1).await;
    let error = ask(&caller.receipts).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "receipts is unavailable: too many calls to it are under way"
    );
    held.abort();
}

#[tokio::test]
async fn a_replica_that_has_enough_to_do_sends_callers_to_the_other() {
    let one = Config {
        max_calls: 1,
        ..quick()
    };
    let busy = Replica::start_at(1, "127.0.0.1:0".parse().unwrap(), one);
    let first = Caller::of(&[busy.address]);
    first.sees(1).await;
    busy.fake.set(Mode::Hang);
    let receipts = first.receipts.clone();
    let held = tokio::spawn(async move { ask(&receipts).await });
    until("one is under way", || busy.fake.begun() == 1).await;
    let free = Replica::start(2);
    let caller = Caller::of(&[busy.address, free.address]);
    caller.sees(2).await;
    for _ in 0..20 {
        // Not even what must not be repeated suffers: nothing was done.
        assert_eq!(
            caller
                .persistence
                .open_session(support::open())
                .await
                .unwrap()
                .epoch,
            2
        );
    }
    assert_eq!(busy.fake.begun(), 1);
    held.abort();
}

#[tokio::test]
async fn a_process_without_the_service_is_not_called() {
    let fake = Fake::numbered(1);
    let services = Services {
        persistence: Some(fake.clone()),
        receipts: None,
        routing: None,
    };
    let half = Replica::start_with(fake, services, "127.0.0.1:0".parse().unwrap(), quick());
    let caller = Caller::of(&[half.address]);
    assert_eq!(
        caller
            .persistence
            .open_session(support::open())
            .await
            .unwrap()
            .epoch,
        1
    );
    let error = ask(&caller.receipts).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "receipts is unavailable: {}: another service is there",
            half.address
        )
    );
}

/// Bytes as they are, so that anything can be sent.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let all = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, all)))
    }
}

async fn send(replica: &Replica, path: &'static str, message: Vec<u8>) -> Result<Bytes, Status> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", replica.address)).unwrap();
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.unary(Request::new(message), path, Raw)
        .await
        .map(|answer| answer.into_inner())
}

#[derive(Clone, PartialEq, prost::Message)]
struct History {
    #[prost(string, tag = "1")]
    org: String,
    #[prost(string, tag = "2")]
    topic: String,
    /// What a later version might add.
    #[prost(string, tag = "99")]
    news: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Lane {
    #[prost(uint32, tag = "1")]
    partition: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Backlog {
    #[prost(message, repeated, tag = "2")]
    lanes: Vec<Lane>,
}

#[tokio::test]
async fn what_is_not_a_request_is_refused_and_hurts_nobody() {
    let replica = Replica::start(1);
    let topic = |topic: &str| History {
        topic: topic.to_owned(),
        ..History::default()
    };
    let lanes = vec![Lane { partition: 70_000 }];
    for (path, message, why) in [
        (
            "/longwire.rpc.v1.Persistence/OpenSession",
            Vec::new(),
            "whose session it is: it is missing",
        ),
        (
            "/longwire.rpc.v1.Persistence/History",
            topic("a/#").encode_to_vec(),
            "a topic name: ",
        ),
        (
            "/longwire.rpc.v1.Persistence/History",
            topic("a").encode_to_vec(),
            "which part of a history: ",
        ),
        (
            "/longwire.rpc.v1.Persistence/Backlog",
            Backlog { lanes }.encode_to_vec(),
            "a partition: there is no 70000",
        ),
    ] {
        let status = send(&replica, path, message).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status:?}");
        assert!(status.message().contains(why), "{path}: {status:?}");
        assert_eq!(status.metadata().get("longwire-code").unwrap(), "invalid-payload");
    }
    let garbage = send(&replica, "/longwire.rpc.v1.Persistence/Visitor", vec![0xff; 7]).await;
    assert_eq!(garbage.unwrap_err().code(), Code::Internal);
    let unknown = send(&replica, "/longwire.rpc.v1.Persistence/OfTomorrow", Vec::new()).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(replica.fake.begun(), 0);
}

#[tokio::test]
async fn what_a_later_version_adds_is_ignored() {
    let replica = Replica::start(1);
    replica.fake.will_answer(model::thread::Members::default());
    let later = History {
        org: "o".into(),
        topic: "a/b".into(),
        news: "x".repeat(100),
    };
    let answered = send(
        &replica,
        "/longwire.rpc.v1.Persistence/Membership",
        later.encode_to_vec(),
    )
    .await;
    assert_eq!(answered.unwrap(), Bytes::new());
    let (org, topic, _) = replica
        .fake
        .was_asked::<(OrgId, model::TopicName, model::Position)>();
    assert_eq!((org.as_str(), topic.as_str()), ("o", "a/b"));
}

#[tokio::test]
async fn both_sides_count_by_method_and_code() {
    let replica = Replica::start(1);
    let caller = Caller::of(&[replica.address]);
    ask(&caller.receipts).await.unwrap();
    let error = contract::RpcError::new(ErrorKind::NotFound, "no");
    replica.fake.set(Mode::Refuse(error));
    ask(&caller.receipts).await.unwrap_err();
    let has = |text: String, line: &str| assert!(text.lines().any(|l| l == line), "no `{line}` in:\n{text}");
    for code in ["ok", "not-found"] {
        let labels = format!("{{method=\"Unread\",code=\"{code}\"}} 1");
        has(
            caller.metrics.encode(),
            &format!("longwire_rpc_calls_total{labels}"),
        );
        has(
            replica.metrics.encode(),
            &format!("longwire_rpc_served_total{labels}"),
        );
    }
    let seconds = "longwire_rpc_serve_duration_seconds_count{method=\"Unread\"} 2";
    has(replica.metrics.encode(), seconds);
}
