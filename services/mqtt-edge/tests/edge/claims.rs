//! Visitors that say who they are and do not show it.

use auth::{Claims, Signer};
use contract::persistence::{OpenThread, Standing, UserCard};
use model::{Role, UnixMillis};
use runtime::config::HumanDuration;
use testkit::chat::{self, agent_topic};
use testkit::mqtt::{Options, QoS, ReasonCode, Refused, Version};
use testkit::{DEADLINE, eventually};

use crate::rig::Rig;

const ORG: &str = "df_org_uid";

/// What `POST /visitor/api/v1/init` gives for a claim.
fn claimed_token(rig: &Rig, uid: &str) -> String {
    let claims = Claims {
        unproven: true,
        ..Claims::new(uid, Role::Visitor)
    };
    Signer::new(&rig.auth).unwrap().sign(&claims)
}

async fn proven(rig: &Rig, uid: &str) {
    eventually("the proof is stored", DEADLINE, async || {
        let standing = rig.persistence.standing(&ORG.into(), &uid.into()).await;
        (standing == Ok(Standing::Proven)).then_some(())
    })
    .await;
}

fn reason(refused: Result<testkit::mqtt::Mqtt, Refused>) -> ReasonCode {
    match refused {
        Err(Refused::ConnAck(connack)) => connack.reason,
        other => panic!("CONNACK says what is wrong, not {other:?}"),
    }
}

/// A token for a claim took over the session of the user whose uid was claimed, and got the threads of its desk.
#[tokio::test]
async fn a_claim_meets_neither_the_session_nor_the_threads_of_the_user() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    for version in [Version::V311, Version::V5] {
        let (uid, desk) = (format!("u7-{version:?}"), format!("desk-{version:?}"));
        let client = format!("{uid}/web/1");
        let options = |token: &str| Options::new(version, &client).persistent().token(token);
        let claimed = claimed_token(&rig, &uid);
        let own = rig.token(&uid, Role::Agent, &[&desk]);
        let mut claim = edge.connect(options(&claimed)).await;
        let mut agent = edge.connect(options(&own)).await;
        assert!(
            !agent.connack.session_present,
            "the claim's session is another one"
        );
        claim.ping().await;
        let visitor = rig.token("v1", Role::Visitor, &[]);
        let mut page = edge.connect(Options::v5("v1/web/1").token(&visitor)).await;
        let first = chat::text(&agent_topic(&desk, "v1"), "v1", "for the agent");
        page.say(&first).await;
        agent.hear_until(|m| m.uid == first.uid).await;
        // What comes to the claim first is a message of its own.
        let own_thread = chat::text(&agent_topic("a1", &uid), &uid, "mine");
        claim.say(&own_thread).await;
        assert_eq!(claim.hear().await.uid, own_thread.uid);
        agent.ping().await;
        agent.disconnect().await;
        let again = edge.connect(options(&own)).await;
        assert!(again.connack.session_present);
        claim.ping().await;
        proven(&rig, &uid).await;
        let refused = reason(edge.try_connect(options(&claimed)).await);
        assert_eq!(refused, ReasonCode::BadUserNameOrPassword);
    }
}

#[tokio::test]
async fn a_claim_has_its_own_threads_and_nothing_else() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let token = claimed_token(&rig, "v1");
    let mut client = edge.connect(Options::v5("v1/web/1").token(&token)).await;
    let own = agent_topic("a1", "v1");
    for (filter, granted) in [
        (own.as_str(), true),
        ("user/v1", true),
        ("user/v2", false),
        ("user/+", false),
        ("org/agent/a1/v2", false),
        ("org/agent/v1/+", false),
        ("org/agent/a1/v1_internal", false),
        ("org/member/v1/b", false),
        ("org/df_org_uid", false),
        ("file/v1", false),
        ("sensors/+", false),
        ("$longwire/presence", false),
        ("#", false),
    ] {
        let reason = client.subscribe(filter, QoS::AtLeastOnce).await;
        let expected = match granted {
            true => ReasonCode::GrantedQoS1,
            false => ReasonCode::NotAuthorized,
        };
        assert_eq!(reason, expected, "{filter}");
    }
    for topic in ["sensors/1", "user/v1", "org/agent/a1/v2"] {
        let ack = client.publish(topic, "x", QoS::AtLeastOnce).await.unwrap();
        assert!(ack.reason.is_error(), "{topic}: {:?}", ack.reason);
    }
    client.say(&chat::text(&own, "v1", "hello")).await;
    assert_eq!(client.hear().await.content, "hello");
    for topic in ["sensors/1", own.as_str()] {
        let with_will = Options::v5("v1/web/2")
            .token(&token)
            .will(topic, "x", QoS::AtMostOnce, false);
        assert_eq!(
            reason(edge.try_connect(with_will).await),
            ReasonCode::NotAuthorized,
            "{topic}"
        );
    }
}

#[tokio::test]
async fn uids_of_the_directory_are_not_claimed_with_a_token_for_it() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    for uid in ["agent2", "df_ag_uid", "admin"] {
        let options = Options::v5(&format!("{uid}/web/1")).token(&claimed_token(&rig, uid));
        assert_eq!(
            reason(edge.try_connect(options).await),
            ReasonCode::NotAuthorized,
            "{uid}"
        );
    }
}

#[tokio::test]
async fn a_claim_that_is_connected_ends_when_the_uid_is_proven() {
    let mut rig = Rig::start().await;
    rig.edge_config.claim_check = HumanDuration::from_millis(50);
    let edge = rig.edge().await;
    let mut claim = edge
        .connect(Options::v5("v1/web/1").token(&claimed_token(&rig, "v1")))
        .await;
    let mut other = edge
        .connect(Options::v5("v2/web/1").token(&claimed_token(&rig, "v2")))
        .await;
    let own = rig.token("v1", Role::Visitor, &[]);
    let mut page = edge.connect(Options::v5("v1/web/2").token(&own)).await;
    assert_eq!(
        claim.closed_by_server(DEADLINE).await,
        Some(ReasonCode::NotAuthorized)
    );
    page.ping().await;
    other.ping().await;
}

/// Being a member of a thread is not enough: what a user may see goes by its role, for what it gets without asking too.
#[tokio::test]
async fn a_visitors_token_does_not_get_the_threads_that_its_user_is_a_member_of() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let open = OpenThread {
        org: ORG.into(),
        desk: "df_wg_uid".into(),
        visitor: UserCard {
            uid: "v1".into(),
            ..UserCard::default()
        },
        at: UnixMillis(1),
    };
    let as_agent = rig.token("agent1", Role::Agent, &["df_ag_uid"]);
    let as_visitor = rig.token("agent1", Role::Visitor, &["df_ag_uid"]);
    let mut agent = edge.connect(Options::v5("agent1/web/1").token(&as_agent)).await;
    let opened = rig.persistence.open_thread(open).await.unwrap();
    let topic = opened.thread.topic.to_string();
    let mut visitor = edge.connect(Options::v5("agent1/web/2").token(&as_visitor)).await;
    let page = rig.token("v1", Role::Visitor, &[]);
    let mut page = edge.connect(Options::v5("v1/web/1").token(&page)).await;
    let first = chat::text(&topic, "v1", "for the workgroup");
    page.say(&first).await;
    agent.hear_until(|m| m.uid == first.uid).await;
    let own = chat::text(&agent_topic("a1", "agent1"), "agent1", "own");
    visitor.say(&own).await;
    assert_eq!(visitor.hear().await.uid, own.uid);
}
