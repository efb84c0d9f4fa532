//! Every call takes every field there and back, through a real server.
#![allow(clippy::unwrap_used)]

mod support;
#[path = "support/values.rs"]
mod values;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use contract::persistence::Persistence;
use contract::receipts::Receipts;
use contract::{ErrorKind, RpcError};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use support::{Caller, Fake, Mode, Replica};

/// Calls with any question and any answer: what was asked arrives as it was, what is answered too.
fn there_and_back<Q, A, F>(
    questions: impl Strategy<Value = Q>,
    answers: impl Fn(&Q) -> BoxedStrategy<A>,
    call: impl Fn(Arc<Caller>, Q) -> F,
) where
    Q: Any + Send + Clone + PartialEq + Debug,
    A: Any + Send + Clone + PartialEq + Debug,
    F: Future<Output = Result<A, RpcError>>,
{
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let replica = Replica::start(1);
    let caller = {
        let _within = runtime.enter();
        Arc::new(Caller::of(&[replica.address]))
    };
    let both = questions.prop_flat_map(|q| {
        let answers = answers(&q);
        (Just(q), answers)
    });
    let cases = Cases {
        failure_persistence: None,
        ..Cases::with_cases(40)
    };
    let ran = TestRunner::new(cases).run(&both, |(question, answer)| {
        replica.fake.will_answer(answer.clone());
        let answered = runtime.block_on(call(caller.clone(), question.clone()));
        prop_assert_eq!(answered, Ok(answer));
        prop_assert_eq!(replica.fake.was_asked::<Q>(), question);
        Ok(())
    });
    ran.unwrap();
}

macro_rules! round_trips {
    ($($name:ident: $questions:expr => $answers:expr, |$service:ident, $q:pat_param| $call:expr;)+) => {$(
        #[test]
        fn $name() {
            there_and_back($questions, |_| $answers.boxed(), async |caller: Arc<Caller>, $q| {
                let $service = &*caller;
                $call.await
            });
        }
    )+};
}

round_trips! {
    opening_a_session: values::open_session() => values::opened_session(),
        |s, q| s.persistence.open_session(q);
    closing_a_session: values::close_session() => Just(()), |s, q| s.persistence.close_session(q);
    the_backlog: values::backlog_request() => values::backlog_page(), |s, q| s.persistence.backlog(q);
    retained_messages: (values::org(), values::filter(), vec(values::lane(), 0..3)) => vec(values::retained(), 0..3),
        |s, (org, filter, upto)| s.persistence.retained(&org, &filter, upto);
    uids_of_a_partition: (values::partition(), values::position(), any::<u32>()) => values::uid_page(),
        |s, (partition, after, limit)| s.persistence.uids_since(partition, after, limit);
    the_last_before: (values::org(), values::topic(), values::position()) => of(values::position()),
        |s, (org, topic, before)| s.persistence.last_before(&org, &topic, before);
    history: values::history_request() => values::history_page(), |s, q| s.persistence.history(q);
    members: (values::org(), values::topic(), values::position()) => values::members(),
        |s, (org, topic, known_to)| s.persistence.members(&org, &topic, known_to);
    a_desk: (values::org(), values::user()) => values::desk(), |s, (org, uid)| s.persistence.desk(&org, &uid);
    opening_a_thread: values::open_thread() => values::opened_thread(), |s, q| s.persistence.open_thread(q);
    memberships: (values::org(), vec(values::user(), 0..3), vec((values::partition(), values::position()), 0..3)) =>
        vec(values::member_topic(), 0..3),
        |s, (org, who, reached)| s.persistence.memberships(&org, who, reached);
    admit: (values::org(), values::topic()) => Just(()),
        |s, (org, topic)| s.persistence.admit(&org, &topic);
    change_thread: values::change_thread() => values::thread_card(),
        |s, change| s.persistence.change_thread(change);
    threads: values::threads_request() => values::thread_page(), |s, q| s.persistence.threads(q);
    a_visitor: (values::org(), values::user_card()) => values::user_card(),
        |s, (org, card)| s.persistence.visitor(&org, card);
    explaining: values::explain_request() => vec(values::explained(), 0..3), |s, q| s.persistence.explain(q);
    standing: (values::org(), values::user()) => values::standing(),
        |s, (org, uid)| s.persistence.standing(&org, &uid);
    proving: (values::org(), vec(values::user(), 0..3)) => Just(()), |s, (org, uids)| s.persistence.prove(&org, uids);
    what_a_uid_is: (values::org(), values::user()) => of(values::directory_uid()),
        |s, (org, uid)| s.persistence.identify(&org, &uid);
    the_agents_of_a_user: (values::org(), vec(values::user(), 0..3)) => vec(values::agent_card(), 0..3),
        |s, (org, who)| s.persistence.agents_of(&org, who);
    agents_listed: (values::org(), any::<u32>(), any::<u32>()) => values::listed(values::agent_card()),
        |s, (org, page, size)| s.persistence.list_agents(&org, page, size);
    desks_listed: (values::org(), any::<u32>(), any::<u32>()) => values::listed(values::desk_entry()),
        |s, (org, page, size)| s.persistence.list_desks(&org, page, size);
    changing_the_directory: (values::org(), values::directory_change()) => of(values::desk()),
        |s, (org, change)| s.persistence.change_directory(&org, change);
    unread: (values::org(), vec(values::user(), 0..3), of(values::topic())) => any::<u64>(),
        |s, (org, who, topic)| s.receipts.unread(&org, who, topic);
    recount: (values::org(), vec(values::user(), 0..3), of(values::topic())) => any::<u64>(),
        |s, (org, who, topic)| s.receipts.recount(&org, who, topic);
}

#[test]
fn saving_sessions() {
    there_and_back(
        vec(values::save_session(), 1..4),
        |saves| vec(any::<bool>(), saves.len()).boxed(),
        async |s: Arc<Caller>, saves| s.persistence.save_sessions(saves).await,
    );
}

#[test]
fn finding() {
    there_and_back(
        (
            values::partition(),
            vec(values::message_key(), 0..4),
            values::position(),
        ),
        |(_, keys, _)| vec(of(values::found()), keys.len()).boxed(),
        async |s: Arc<Caller>, (partition, keys, applied)| s.persistence.find(partition, keys, applied).await,
    );
}

#[tokio::test]
async fn every_kind_of_error_arrives_as_it_was_said() {
    let replica = Replica::start(1);
    let caller = Caller::of(&[replica.address]);
    for kind in ErrorKind::ALL {
        let error = RpcError::new(kind, format!("no: {kind} – 没有, \"x\"\n"));
        replica.fake.set(Mode::Refuse(error.clone()));
        assert_eq!(support::ask(&caller.receipts).await, Err(error.clone()));
        assert_eq!(caller.persistence.open_session(support::open()).await, Err(error));
    }
}

#[tokio::test]
async fn an_answer_for_each_question_or_none_at_all() {
    let replica = Replica::start(1);
    let caller = Caller::of(&[replica.address]);
    let save = contract::persistence::SaveSession {
        key: support::key(),
        epoch: 1,
        state: bytes::Bytes::new(),
    };
    replica.fake.will_answer(vec![true, true]);
    let error = caller.persistence.save_sessions(vec![save]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal, "{error}");
}

#[tokio::test]
async fn the_same_traits_without_a_server() {
    let fake = Fake::numbered(7);
    let receipts: Arc<dyn Receipts> = fake.clone();
    let persistence: Arc<dyn Persistence> = fake;
    assert_eq!(support::ask(&receipts).await, Ok(7));
    assert_eq!(
        persistence.open_session(support::open()).await,
        Ok(support::opened(7))
    );
}
