use std::collections::BTreeSet;

use super::*;
use crate::{OrgId, Origin, Principal, Role, UserId};

/// Every name of the deployed clients, as their servers list them, and those of older versions.
const DEPLOYED: &str = "WELCOME CONTINUE SYSTEM NOTICE TEXT IMAGE FILE DOCUMENT AUDIO VOICE VIDEO MUSIC LOCATION LINK CARD EVENT \
    EXTRA GUESS HOT SHORTCUT URL GOODS ORDER PHONE_NUMBER EMAILL_ADDRESS WECHAT_NUMBER FORWARD QUEUE QUEUE_NOTICE QUEUE_UPDATE \
    QUEUE_ACCEPT QUEUE_TIMEOUT QUEUE_CANCEL ROUTING_POOL POLL POLL_SUBMIT PREFORM FORM FORM_SUBMIT CHOICE CHOICE_SUBMIT CONFIRM \
    CONFIRM_SUBMIT LEAVE_MSG LEAVE_MSG_SUBMIT LEAVE_MSG_REPLIED CUSTOMER_SUBMIT SYSTEM_ALARM THREAD TICKET TICKET_SUBMIT STICKER \
    EMAIL BUTTON BUTTON_SUBMIT TYPING PREVIEW PROCESSING REACTION PLAYBACK GOODS_UPDATE ORDER_UPDATE RECALL DELIVERED READ QUOTATION \
    KICKOFF SHAKE FAQ FAQ_QUESTION FAQ_ANSWER ROBOT ROBOT_CANCEL ROBOT_UNANSWERED ROBOT_ERROR ROBOT_STREAM ROBOT_STREAM_START \
    ROBOT_STREAM_END ROBOT_STREAM_CANCEL ROBOT_STREAM_UNANSWERED ROBOT_STREAM_ERROR ROBOT_UP ROBOT_DOWN ARTICLE BLOG PAY PAY_SUCCESS \
    PAY_FAILURE REFUND REFUND_SUCCESS REFUND_FAILURE LOGISTICS LOGISTICS_UPDATE LOGISTICS_DELIVERED LOGISTICS_EXCEPTION RATE_INVITE \
    RATE RATE_SUBMIT RATE_CANCEL AUTO_CLOSED AGENT_CLOSED VISITOR_CLOSED TRANSFER TRANSFER_REJECT TRANSFER_ACCEPT TRANSFER_TIMEOUT \
    TRANSFER_CANCEL INVITE INVITE_REJECT INVITE_ACCEPT INVITE_TIMEOUT INVITE_CANCEL INVITE_EXIT INVITE_REMOVE INVITE_VISITOR \
    INVITE_VISITOR_REJECT INVITE_VISITOR_ACCEPT INVITE_VISITOR_TIMEOUT INVITE_VISITOR_CANCEL INVITE_GROUP INVITE_GROUP_REJECT \
    INVITE_GROUP_ACCEPT INVITE_GROUP_TIMEOUT INVITE_GROUP_CANCEL INVITE_KBASE INVITE_KBASE_REJECT INVITE_KBASE_ACCEPT \
    INVITE_KBASE_TIMEOUT INVITE_KBASE_CANCEL INVITE_ORGANIZATION INVITE_ORGANIZATION_REJECT INVITE_ORGANIZATION_ACCEPT \
    INVITE_ORGANIZATION_TIMEOUT INVITE_ORGANIZATION_CANCEL INVITE_AUDIO INVITE_AUDIO_ACCEPT INVITE_AUDIO_REJECT INVITE_AUDIO_CANCEL \
    INVITE_AUDIO_TIMEOUT INVITE_VIDEO INVITE_VIDEO_REJECT INVITE_VIDEO_ACCEPT INVITE_VIDEO_CANCEL INVITE_VIDEO_TIMEOUT GROUP_CREATE \
    GROUP_INVITE GROUP_DISMISS NOTIFICATION_AGENT_REPLY_TIMEOUT NOTIFICATION_RATE_SUBMITTED ERROR STREAM STREAM_END FAQ_UP FAQ_DOWN \
    FAQ_Q FAQ_A QA WEBRTC_AUDIO_INVITE WEBRTC_AUDIO_INVITE_REJECT WEBRTC_AUDIO_INVITE_ACCEPT WEBRTC_AUDIO_INVITE_CANCEL \
    WEBRTC_VIDEO_INVITE WEBRTC_VIDEO_INVITE_REJECT WEBRTC_VIDEO_INVITE_ACCEPT WEBRTC_VIDEO_INVITE_CANCEL";

/// What visitors may send of it; nothing else that is listed.
const OF_VISITORS: &str = "TEXT IMAGE FILE DOCUMENT AUDIO VOICE VIDEO MUSIC LOCATION LINK CARD URL GOODS ORDER STICKER QUOTATION \
    FORWARD ARTICLE BLOG EMAIL PHONE_NUMBER EMAILL_ADDRESS WECHAT_NUMBER EXTRA SHAKE TYPING PREVIEW PROCESSING DELIVERED READ RECALL \
    REACTION PLAYBACK POLL_SUBMIT FORM_SUBMIT CHOICE_SUBMIT CONFIRM_SUBMIT BUTTON_SUBMIT TICKET_SUBMIT CUSTOMER_SUBMIT \
    LEAVE_MSG_SUBMIT RATE_SUBMIT RATE_CANCEL FAQ_QUESTION FAQ_Q FAQ_UP FAQ_DOWN ROBOT_UP ROBOT_DOWN QUEUE_CANCEL \
    INVITE_VISITOR_ACCEPT INVITE_VISITOR_REJECT INVITE_AUDIO INVITE_AUDIO_ACCEPT INVITE_AUDIO_REJECT INVITE_AUDIO_CANCEL \
    INVITE_AUDIO_TIMEOUT INVITE_VIDEO INVITE_VIDEO_REJECT INVITE_VIDEO_ACCEPT INVITE_VIDEO_CANCEL INVITE_VIDEO_TIMEOUT \
    WEBRTC_AUDIO_INVITE WEBRTC_AUDIO_INVITE_REJECT WEBRTC_AUDIO_INVITE_ACCEPT WEBRTC_AUDIO_INVITE_CANCEL WEBRTC_VIDEO_INVITE \
    WEBRTC_VIDEO_INVITE_REJECT WEBRTC_VIDEO_INVITE_ACCEPT WEBRTC_VIDEO_INVITE_CANCEL";

fn names(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

fn sent_by(sender: Sender) -> BTreeSet<&'static str> {
    let all = MessageType::all().iter();
    all.filter(|t| t.rule.lets(sender)).map(|t| t.name).collect()
}

#[test]
fn every_name_of_the_deployed_clients_is_decided_once() {
    let listed: Vec<&str> = MessageType::all().iter().map(|t| t.name).collect();
    let set: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(set.len(), listed.len(), "a name is there twice");
    let mut wanted = names(DEPLOYED);
    // Not a name of theirs: what Longwire calls its own entries.
    wanted.insert("MEMBERSHIP");
    assert_eq!(set, wanted);
    assert!(
        set.iter()
            .all(|name| !name.contains(|c: char| c.is_ascii_lowercase()))
    );
}

#[test]
fn visitors_send_what_visitors_have_to_say_and_nothing_else() {
    assert_eq!(sent_by(Sender::Visitor), names(OF_VISITORS));
}

#[test]
fn what_agents_services_and_the_server_send_grows_in_this_order() {
    let [visitors, staff, services, server] =
        [Sender::Visitor, Sender::Staff, Sender::Service, Sender::Server].map(sent_by);
    assert!(visitors.is_subset(&staff) && staff.is_subset(&services) && services.is_subset(&server));
    let not_of_staff = "SYSTEM SYSTEM_ALARM CONTINUE AUTO_CLOSED VISITOR_CLOSED KICKOFF NOTIFICATION_AGENT_REPLY_TIMEOUT \
        NOTIFICATION_RATE_SUBMITTED EVENT MEMBERSHIP ERROR";
    assert_eq!(
        server.difference(&staff).copied().collect::<BTreeSet<_>>(),
        names(not_of_staff)
    );
    let of_the_server = server.difference(&services).copied().collect::<BTreeSet<_>>();
    assert_eq!(of_the_server, names("EVENT MEMBERSHIP ERROR"));
}

#[test]
fn a_name_is_the_same_in_any_case() {
    for MessageType { name, rule } in MessageType::all() {
        let mixed: String = name
            .chars()
            .enumerate()
            .map(|(i, c)| if i % 2 == 0 { c.to_ascii_lowercase() } else { c })
            .collect();
        for spelled in [*name, &name.to_ascii_lowercase(), &mixed] {
            assert_eq!(
                MessageType::listed(spelled).map(|t| t.name),
                Some(*name),
                "{spelled}"
            );
            assert_eq!(MessageType::rule(spelled), *rule, "{spelled}");
            assert_eq!(
                crate::MessageKind::of(spelled),
                crate::MessageKind::of(name),
                "{spelled}"
            );
            assert_eq!(
                crate::is_countable(spelled),
                crate::is_countable(name),
                "{spelled}"
            );
        }
    }
    use crate::{MessageKind, ReceiptKind};
    for (spelled, kind) in [
        ("read", MessageKind::Receipt(ReceiptKind::Read)),
        ("Delivered", MessageKind::Receipt(ReceiptKind::Delivered)),
        ("recall", MessageKind::Recall),
        ("typing", MessageKind::Transient),
        ("robot_stream_of_the_future", MessageKind::StreamPart),
        ("Text", MessageKind::Ordinary),
    ] {
        assert_eq!(MessageKind::of(spelled), kind, "{spelled}");
    }
    assert!(crate::is_countable("text"));
}

#[test]
fn names_that_are_not_listed_are_custom_and_pass_but_in_the_families_of_the_staff() {
    for custom in [
        "SOME_TYPE_OF_THE_FUTURE",
        "my-shop",
        "",
        "TEXT_",
        "ΑΒΓ",
        "NOTIFICATION",
        "INVITE_VIDEO_BUSY",
    ] {
        assert_eq!(MessageType::listed(custom), None, "{custom}");
        let rule = MessageType::rule(custom);
        assert!(rule.lets(Sender::Visitor) && rule.shows_to_visitors(), "{custom}");
    }
    for kept in ["TRANSFER_LATER", "invite_someone", "NOTIFICATION_X"] {
        let rule = MessageType::rule(kept);
        assert!(!rule.lets(Sender::Visitor) && !rule.shows_to_visitors(), "{kept}");
        assert!(rule.lets(Sender::Service), "{kept}");
    }
    let robot = MessageType::rule("ROBOT_SAYS");
    assert!(!robot.lets(Sender::Visitor) && robot.shows_to_visitors());
}

#[test]
fn a_visitor_is_shown_what_it_may_send() {
    for MessageType { name, rule } in MessageType::all() {
        assert!(rule.shows_to_visitors() || !rule.lets(Sender::Visitor), "{name}");
    }
    let hidden: BTreeSet<_> = MessageType::all()
        .iter()
        .filter(|t| !t.rule.shows_to_visitors())
        .map(|t| t.name)
        .collect();
    let is_hidden = |name: &str| {
        let call_or_visitor = ["INVITE_VISITOR", "INVITE_AUDIO", "INVITE_VIDEO"];
        ["TRANSFER", "INVITE", "NOTIFICATION_"]
            .iter()
            .any(|p| name.starts_with(p))
            && !call_or_visitor.iter().any(|p| name.starts_with(p))
    };
    assert_eq!(
        hidden,
        names(DEPLOYED).into_iter().filter(|n| is_hidden(n)).collect()
    );
}

#[test]
fn a_principal_is_a_sender_by_its_role_and_by_how_it_is_known() {
    let of = |role, origin| Sender::of(&Principal::new(OrgId::new("o"), UserId::new("u"), role, origin));
    assert_eq!(of(Role::Agent, Origin::Token), Sender::Staff);
    assert_eq!(of(Role::Admin, Origin::Token), Sender::Staff);
    assert_eq!(of(Role::Service, Origin::Token), Sender::Service);
    assert_eq!(of(Role::Visitor, Origin::Token), Sender::Visitor);
    assert_eq!(of(Role::Agent, Origin::Service), Sender::Server);
    for origin in [Origin::AnonymousVisitor, Origin::AnonymousMqtt] {
        assert_eq!(of(Role::Service, origin), Sender::Visitor);
    }
}

#[test]
fn senders_are_named_as_in_a_sentence() {
    assert_eq!(MessageType::rule("ERROR").senders(), "the server only");
    assert_eq!(
        MessageType::rule("NOTICE").senders(),
        "agents, services and the server"
    );
}
