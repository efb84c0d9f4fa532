use contract::ErrorKind;
use model::{OrgId, Origin, Role};
use wire::envelope::{normalise, other_side};

use super::*;

fn who(user: &str, role: Role, aliases: &[&str]) -> Principal {
    Principal {
        aliases: aliases.iter().map(UserId::new).collect(),
        nickname: format!("{user} of the token"),
        ..Principal::new(OrgId::new("o"), UserId::new(user), role, Origin::Token)
    }
}

fn user(uid: &str, nickname: &str, kind: &str) -> User {
    User {
        uid: uid.into(),
        nickname: nickname.into(),
        r#type: kind.into(),
        ..User::default()
    }
}

/// A message in which everything is claimed that can be.
fn forged(author: &str) -> Message {
    Message {
        uid: "1".into(),
        r#type: "TEXT".into(),
        channel: "SYSTEM".into(),
        thread: Some(Thread {
            uid: "another thread".into(),
            topic: "org/agent/other/v".into(),
            r#type: "GROUP".into(),
            state: "CLOSED".into(),
            user: Some(user("boss", "The boss", "SYSTEM")),
            channel: "{\"a\":1}".into(),
            extra: "{\"closed\":true}".into(),
        }),
        user: Some(user(author, "Ann", "SYSTEM")),
        ..Message::default()
    }
}

fn told(who: &Principal, topic: &str, author: &str, message: Message) -> Message {
    let topic = TopicName::trusted(topic);
    let mut message = normalise(message);
    Spoken::on(who, &topic).unwrap().attribute(&mut message, author);
    message
}

fn parts(message: &Message) -> (&User, &Thread, &User) {
    let (user, thread) = (message.user.as_ref().unwrap(), message.thread.as_ref().unwrap());
    (user, thread, thread.user.as_ref().unwrap())
}

#[test]
fn a_visitor_says_nothing_about_its_conversation_but_its_own_name() {
    let visitor = who("v", Role::Visitor, &[]);
    let topic = "org/agent/a/v";
    let message = told(&visitor, topic, "v", forged("v"));
    let (sender, thread, card) = parts(&message);
    assert_eq!(
        (
            sender.uid.as_str(),
            sender.nickname.as_str(),
            sender.r#type.as_str()
        ),
        ("v", "Ann", "VISITOR")
    );
    assert_eq!(card, sender, "the other party is the visitor itself");
    let expected = Thread {
        uid: thread_uid("o", &TopicName::trusted(topic)),
        topic: topic.into(),
        r#type: "AGENT".into(),
        user: Some(sender.clone()),
        ..Thread::default()
    };
    assert_eq!(thread, &expected);
    assert_eq!(message.channel, "WEB");
}

#[test]
fn a_visitor_without_a_name_has_that_of_its_token() {
    let message = told(
        &who("v", Role::Visitor, &[]),
        "org/agent/a/v",
        "v",
        Message::default(),
    );
    let (sender, _, card) = parts(&message);
    assert_eq!(
        (sender.nickname.as_str(), card.nickname.as_str()),
        ("v of the token", "v of the token")
    );
}

#[test]
fn an_agent_shows_the_visitors_card_and_does_not_choose_whose_it_is() {
    let agent = who("u", Role::Agent, &["a"]);
    let mut shown = forged("a");
    shown.thread.as_mut().unwrap().user = Some(user("v", "Vera", "AGENT"));
    let message = told(&agent, "org/workgroup/w/v", "a", shown);
    let (sender, thread, card) = parts(&message);
    assert_eq!(sender.r#type, "AGENT");
    assert_eq!(card, &user("v", "Vera", "VISITOR"));
    assert_eq!((thread.r#type.as_str(), thread.state.as_str()), ("WORKGROUP", ""));
    assert_eq!(thread.extra, "{\"closed\":true}", "its own settings pass");
    // A name of somebody else is no name of the visitor.
    let message = told(&agent, "org/workgroup/w/v", "a", forged("a"));
    assert_eq!(parts(&message).2, &user("v", "", "VISITOR"));
    assert_eq!(message.channel, "WEB");
}

#[test]
fn states_that_only_show_what_is_going_on_pass() {
    let visitor = who("v", Role::Visitor, &[]);
    for (given, passed) in [
        ("CHATTING", "CHATTING"),
        ("NEW", "NEW"),
        ("TRANSFER_ACCEPTED", ""),
        ("closed", ""),
    ] {
        let mut message = forged("v");
        message.thread.as_mut().unwrap().state = given.into();
        assert_eq!(
            parts(&told(&visitor, "org/agent/a/v", "v", message)).1.state,
            passed,
            "{given}"
        );
    }
}

#[test]
fn channels_other_than_the_systems_pass() {
    let visitor = who("v", Role::Visitor, &[]);
    for (given, passed) in [
        ("HTTP", "HTTP"),
        ("web", "web"),
        ("", ""),
        ("system", "WEB"),
        (" SYSTEM_AUTO", "WEB"),
        ("SYSTEMS", "SYSTEMS"),
    ] {
        let mut message = forged("v");
        message.channel = given.into();
        assert_eq!(
            told(&visitor, "org/agent/a/v", "v", message).channel,
            passed,
            "{given}"
        );
    }
}

#[test]
fn each_colleague_has_the_thread_under_a_uid_of_its_side_and_sees_the_other() {
    let (a, b) = (who("ua", Role::Agent, &["a"]), who("ub", Role::Agent, &["b"]));
    let mut shown = forged("a");
    shown.thread.as_mut().unwrap().user = Some(user("b", "Berta", ""));
    let from_a = told(&a, "org/member/a/b", "a", shown);
    let (sender, thread, other) = parts(&from_a);
    assert_eq!(
        (sender.r#type.as_str(), thread.r#type.as_str()),
        ("MEMBER", "MEMBER")
    );
    assert_eq!(other, &user("b", "Berta", "MEMBER"));
    let from_b = told(&b, "org/member/b/a", "ub", forged("ub"));
    let (sender, reversed, other) = parts(&from_b);
    assert_eq!(
        (sender.r#type.as_str(), other),
        ("USER", &user("a", "", "MEMBER"))
    );
    assert_eq!(reversed.uid, other_side(&thread.uid));
    assert_ne!(reversed.uid, thread.uid);
}

#[test]
fn elsewhere_the_card_is_the_units_or_ones_own() {
    let agent = who("u", Role::Agent, &["m"]);
    let mut shown = forged("m");
    shown.thread.as_mut().unwrap().user = Some(user("g", "The group", ""));
    let message = told(&agent, "org/group/g", "m", shown);
    assert_eq!(parts(&message).2, &user("g", "The group", ""));
    assert_eq!(
        parts(&told(&agent, "org/ticket/department/d/t", "m", forged("m")))
            .0
            .r#type,
        "MEMBER"
    );
    assert_eq!(parts(&told(&agent, "file/u", "u", forged("u"))).0.r#type, "USER");
    let visitor = who("v", Role::Visitor, &[]);
    let message = told(&visitor, "org/group/g", "v", forged("v"));
    assert_eq!(parts(&message).2, &user("g", "", ""), "no name from a visitor");
    let message = told(&visitor, "org/ticket/department/d/t", "v", forged("v"));
    assert_eq!(parts(&message).2.uid, "v");
}

#[test]
fn a_side_channel_has_the_uid_of_its_thread() {
    let agent = who("u", Role::Agent, &["a"]);
    let uid = |topic| parts(&told(&agent, topic, "a", forged("a"))).1.uid.clone();
    assert_eq!(uid("org/agent/a/v_internal"), uid("org/agent/a/v"));
    assert_ne!(uid("org/agent/a/v"), uid("org/agent/a/w"));
}

#[test]
fn a_service_speaks_for_robots_and_the_system() {
    let service = who("crm", Role::Service, &[]);
    let message = told(&service, "org/agent/a/v", "bot", forged("bot"));
    assert_eq!(
        (message.channel.as_str(), parts(&message).0.r#type.as_str()),
        ("SYSTEM", "SYSTEM")
    );
    assert_eq!(parts(&message).0.nickname, "Ann");
    assert_eq!(parts(&message).1.state, "CLOSED");
    assert_eq!(
        (parts(&message).1.topic.as_str(), parts(&message).2.uid.as_str()),
        ("org/agent/a/v", "v")
    );
    let mut nameless = forged("bot");
    *nameless.user.as_mut().unwrap() = user("bot", "", "robot");
    let message = told(&service, "org/agent/a/v", "bot", nameless);
    assert_eq!(
        parts(&message).0,
        &user("bot", "", "ROBOT"),
        "a robot has not the service's name"
    );
    let mut plain = forged("crm");
    plain.user = None;
    assert_eq!(parts(&told(&service, "user/v", "crm", plain)).0.r#type, "SYSTEM");
}

fn author(who: &Principal, uid: &str, kind: &str) -> Result<String, ErrorKind> {
    let topic = TopicName::trusted("org/agent/a/v");
    let mut message = forged(uid);
    message.user.as_mut().unwrap().r#type = kind.into();
    let spoken = Spoken::on(who, &topic).unwrap();
    spoken.author(&message).map_err(|refusal| refusal.kind)
}

#[test]
fn a_service_takes_the_uid_of_a_robot_and_of_nobody_else() {
    let service = who("crm", Role::Service, &["desk"]);
    for (uid, kind) in [
        ("bot", "ROBOT"),
        ("sys", "SYSTEM"),
        ("bot", ""),
        ("desk", "AGENT"),
        ("crm", ""),
    ] {
        assert_eq!(author(&service, uid, kind), Ok(uid.to_owned()), "{uid} {kind}");
    }
    assert_eq!(author(&service, "", ""), Ok("crm".to_owned()));
    for (uid, kind) in [
        ("u7", "AGENT"),
        ("v", "VISITOR"),
        ("v", "ROBOT"),
        ("a", "ROBOT"),
        ("a/b", "ROBOT"),
        ("x", "USER"),
    ] {
        assert_eq!(
            author(&service, uid, kind),
            Err(ErrorKind::Forbidden),
            "{uid} {kind}"
        );
    }
    for role in [Role::Agent, Role::Admin, Role::Visitor] {
        assert_eq!(
            author(&who("u", role, &[]), "bot", "ROBOT"),
            Err(ErrorKind::Forbidden)
        );
    }
}

#[test]
fn a_type_is_spelled_in_one_way_and_refused_with_its_name_and_a_way_out() {
    let topic = TopicName::trusted("org/agent/a/v");
    let visitor = who("v", Role::Visitor, &[]);
    let spoken = Spoken::on(&visitor, &topic).unwrap();
    assert_eq!(spoken.check_type("Text").unwrap(), "TEXT");
    assert_eq!(spoken.check_type("My_Type").unwrap(), "My_Type");
    for name in [
        "TRANSFER_ACCEPT",
        "NOTICE",
        "AUTO_CLOSED",
        "EVENT",
        "MEMBERSHIP",
        "ERROR",
        "notice",
        "Transfer_X",
    ] {
        let refusal = spoken.check_type(name).unwrap_err();
        let listed = MessageType::listed(name).map_or(name, |listed| listed.name);
        assert_eq!(refusal.kind, ErrorKind::Forbidden, "{name}");
        assert!(
            refusal.detail.contains(listed) && refusal.detail.contains("TEXT"),
            "{refusal}"
        );
    }
    let agent = who("u", Role::Agent, &["a"]);
    let spoken = Spoken::on(&agent, &topic).unwrap();
    assert!(spoken.check_type("TRANSFER_ACCEPT").is_ok() && spoken.check_type("KICKOFF").is_err());
}
