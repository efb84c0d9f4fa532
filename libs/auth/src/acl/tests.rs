use model::OrgId;
use proptest::prelude::*;

use super::*;

/// One level of every kind that matters: two names that filters use, the empty one, one that no filter names.
const NAMES: [&str; 4] = ["a", "b", "", "z"];

/// Every topic name of up to four levels over [`NAMES`], and the empty one, which is none: to count it errs on the side of
/// refusing (`+` is said to overlap `/#`).
fn topics() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut longest: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    for _ in 0..4 {
        all.extend(longest.iter().cloned());
        longest = longest
            .iter()
            .flat_map(|topic| NAMES.iter().map(move |name| format!("{topic}/{name}")))
            .collect();
    }
    all
}

/// The specification's rule, written for one filter and one topic only.
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
        ([name, filter @ ..], [level, topic @ ..]) => name == level && matches(filter, topic),
        _ => false,
    }
}

fn matched(filter: &str) -> Vec<bool> {
    let filter: Vec<&str> = filter.split('/').collect();
    topics()
        .iter()
        .map(|topic| matches(&filter, &topic.split('/').collect::<Vec<_>>()))
        .collect()
}

fn a_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => Just("a"), 1 => Just("b"), 1 => Just(""), 2 => Just("+")];
    (prop::collection::vec(level, 0..=3), any::<bool>())
        .prop_map(|(mut levels, rest)| {
            levels.extend(rest.then_some("#"));
            levels.join("/")
        })
        .prop_filter("a filter has a character", |filter| !filter.is_empty())
}

fn a_rule() -> impl Strategy<Value = AclRule> {
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    let access = prop_oneof![
        Just(AclAccess::All),
        Just(AclAccess::Subscribe),
        Just(AclAccess::Publish)
    ];
    (action, access, a_filter()).prop_map(|(action, access, filter)| AclRule {
        action,
        who: Who::All,
        access,
        filter: filter.parse().unwrap(),
    })
}

fn nobody() -> Bindings<'static> {
    Bindings {
        uid: None,
        org: "",
        client_id: "",
    }
}

proptest! {
    #[test]
    fn covers_and_overlaps_agree_with_trying_every_topic(rule in a_filter(), asked in a_filter()) {
        let pattern: TopicPattern = rule.parse().unwrap();
        let levels = pattern::parse_filter(&asked).unwrap();
        let (ours, theirs) = (matched(&rule), matched(&asked));
        let covers = ours.iter().zip(&theirs).all(|(ours, theirs)| *ours || !theirs);
        let overlaps = ours.iter().zip(&theirs).any(|(ours, theirs)| *ours && *theirs);
        prop_assert_eq!(pattern.covers(&levels, &nobody()), covers);
        prop_assert_eq!(pattern.overlaps(&levels, &nobody()), overlaps);
    }

    #[test]
    fn a_granted_subscription_receives_nothing_that_a_rule_denies(
        rules in prop::collection::vec(a_rule(), 0..5), allow in any::<bool>(), asked in a_filter()
    ) {
        let default = Some(if allow { Action::Allow } else { Action::Deny });
        let acl = Acl::new(&AclConfig { default, rules });
        let caller = &anonymous();
        if subscribe(&acl, caller, "c", &asked) {
            for (topic, matched) in topics().iter().zip(matched(&asked)) {
                prop_assert!(!matched || topic.is_empty() || receive(&acl, caller, "c", topic), "{}", topic);
            }
        }
    }

    #[test]
    fn no_id_reaches_beyond_the_level_it_stands_in(id in "[ab+#/${}u]{0,6}") {
        let acl = rules("deny", &[("allow", "all", "all", "u/${uid}/x"), ("allow", "all", "all", "c/${clientid}")]);
        let user = user(&id);
        let caller = &user;
        let whole = !id.is_empty() && !id.contains(['/', '+', '#']);
        prop_assert_eq!(publish(&acl, caller, "", &format!("u/{id}/x")), whole);
        prop_assert_eq!(subscribe(&acl, caller, &id, &format!("c/{id}")), whole);
        for other in ["u/other/x", "u/a/b/x", "c/other", "c/a/b", "c"] {
            prop_assert!(!publish(&acl, caller, &id, other));
            prop_assert!(!subscribe(&acl, caller, &id, "c/+") && !subscribe(&acl, caller, &id, "u/#"));
        }
    }
}

fn rules(default: &str, rules: &[(&str, &str, &str, &str)]) -> Acl {
    let text: String = rules
        .iter()
        .map(|(action, who, access, filter)| {
            format!(
                "[[rules]]\naction = '{action}'\nwho = '{who}'\naccess = '{access}'\nfilter = '{filter}'\n"
            )
        })
        .collect();
    Acl::new(&toml::from_str(&format!("default = '{default}'\n{text}")).unwrap())
}

fn user(uid: &str) -> Principal {
    Principal::new(OrgId::new("o1"), UserId::new(uid), Role::Agent, Origin::Token)
}

fn anonymous() -> Principal {
    Principal {
        origin: Origin::AnonymousMqtt,
        role: Role::Visitor,
        ..user("nobody")
    }
}

fn publish(acl: &Acl, who: &Principal, client_id: &str, topic: &str) -> bool {
    acl.may_publish(who, client_id, &TopicName::trusted(topic))
}

fn receive(acl: &Acl, who: &Principal, client_id: &str, topic: &str) -> bool {
    acl.may_receive(who, client_id, &TopicName::trusted(topic))
}

fn subscribe(acl: &Acl, who: &Principal, client_id: &str, filter: &str) -> bool {
    acl.may_subscribe(who, client_id, &TopicFilter::trusted(filter))
}

#[test]
fn the_first_match_wins() {
    let acl = rules(
        "deny",
        &[
            ("deny", "all", "all", "a/secret"),
            ("allow", "all", "all", "a/#"),
            ("deny", "all", "all", "a/b"),
        ],
    );
    let caller = &anonymous();
    assert!(publish(&acl, caller, "c", "a/b") && publish(&acl, caller, "c", "a"));
    assert!(!publish(&acl, caller, "c", "a/secret") && !publish(&acl, caller, "c", "b"));
    assert!(subscribe(&acl, caller, "c", "a/b/#"));
    for overlapping in ["a/#", "a/+", "#", "+/secret", "a/secret/#"] {
        assert!(!subscribe(&acl, caller, "c", overlapping), "{overlapping}");
    }
}

#[test]
fn an_allow_covers_the_same_or_narrower_filters_only() {
    let acl = rules("deny", &[("allow", "all", "subscribe", "a/+")]);
    let caller = &anonymous();
    assert!(subscribe(&acl, caller, "c", "a/b") && subscribe(&acl, caller, "c", "a/+"));
    assert!(!subscribe(&acl, caller, "c", "a/#") && !subscribe(&acl, caller, "c", "+/b"));
    assert!(
        !publish(&acl, caller, "c", "a/b"),
        "subscribing is not publishing"
    );
}

#[test]
fn rules_are_for_whom_they_name() {
    let anonymous = anonymous();
    let agent = user("u1");
    let visitor = Principal {
        role: Role::Visitor,
        ..user("u2")
    };
    for (who, expected) in [
        ("all", [true, true, true]),
        ("anonymous", [true, false, false]),
        ("agent", [false, true, false]),
        ("visitor", [false, false, true]),
        ("admin", [false, false, false]),
        ("user:u1", [false, true, false]),
    ] {
        let acl = rules("deny", &[("allow", who, "publish", "t")]);
        let asked = [&anonymous, &agent, &visitor].map(|caller| publish(&acl, caller, "c", "t"));
        assert_eq!(asked, expected, "{who}");
    }
    for bad in ["boss", "user:", "user:a/b", "All"] {
        assert!(Who::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}

#[test]
fn variables_may_be_a_part_of_a_level() {
    let acl = rules("deny", &[("allow", "all", "all", "x/${org}-${uid}.in/#")]);
    let user = user("u1");
    assert!(subscribe(&acl, &user, "c", "x/o1-u1.in/#"));
    assert!(publish(&acl, &user, "c", "x/o1-u1.in"));
    for other in ["x/o1-u2.in", "x/o1-u1.in2", "x/o1-u1", "x/-.in"] {
        assert!(!publish(&acl, &user, "c", other), "{other}");
    }
    assert!(!publish(&acl, &anonymous(), "c", "x/o1-.in"), "nobody has no uid");
}

#[test]
fn dollar_topics_and_what_is_no_topic_are_refused_even_if_all_is_allowed() {
    let acl = rules("allow", &[("allow", "all", "all", "#")]);
    let user = user("$SYS");
    let caller = &user;
    for filter in [
        "$SYS/#",
        "$share/g/a",
        "$queue/a",
        "$",
        "",
        "a/#/b",
        "a+",
        "#a",
        "a\0",
    ] {
        assert!(
            !subscribe(&acl, caller, "c", filter) && !publish(&acl, caller, "c", filter),
            "{filter}"
        );
    }
    assert!(!publish(&acl, caller, "c", "a/+") && !publish(&acl, caller, "c", "#"));
    assert!(publish(&acl, caller, "c", "a/$x") && subscribe(&acl, caller, "c", "#"));
}

#[test]
fn without_rules_the_default_decides_and_unsaid_it_denies() {
    let caller = &anonymous();
    assert!(publish(&rules("allow", &[]), caller, "c", "a"));
    assert!(!publish(&Acl::new(&AclConfig::default()), caller, "c", "a"));
    assert!(!subscribe(&Acl::new(&AclConfig::default()), caller, "c", "#"));
}

#[test]
fn filters_that_could_not_mean_what_they_say_are_refused() {
    use crate::PatternError::*;
    let error = |text: &str| text.parse::<TopicPattern>().unwrap_err();
    let filter = str::to_owned;
    assert_eq!(error(""), Empty);
    for text in ["a#", "#/a", "a/#/b", "+a", "a/${uid}+"] {
        assert_eq!(error(text), Wildcard { filter: filter(text) });
    }
    for text in ["${user}", "a/${uid", "a/${UID}/b", "${}"] {
        assert_eq!(error(text), Variable { filter: filter(text) });
    }
    assert_eq!(
        error("$SYS/#"),
        Reserved {
            filter: filter("$SYS/#")
        }
    );
    assert_eq!(
        "a/${uid}/+/#".parse::<TopicPattern>().unwrap().to_string(),
        "a/${uid}/+/#"
    );
}

#[test]
fn a_visitor_nobody_vouches_for_is_anonymous_to_the_rules() {
    let acl = rules(
        "deny",
        &[
            ("allow", "visitor", "all", "v"),
            ("allow", "user:u1", "all", "u"),
            ("allow", "all", "all", "x/${uid}"),
            ("allow", "anonymous", "all", "a"),
        ],
    );
    let vouched = Principal {
        role: Role::Visitor,
        ..user("u1")
    };
    let claimed = Principal {
        origin: Origin::AnonymousVisitor,
        ..vouched.clone()
    };
    let topics = ["v", "u", "x/u1", "a"];
    assert_eq!(
        topics.map(|topic| publish(&acl, &vouched, "c", topic)),
        [true, true, true, false]
    );
    assert_eq!(
        topics.map(|topic| publish(&acl, &claimed, "c", topic)),
        [false; 4]
    );
    assert_eq!(
        topics.map(|topic| subscribe(&acl, &claimed, "c", topic)),
        [false; 4]
    );
    let open = rules("allow", &[("allow", "all", "all", "#")]);
    assert!(!publish(&open, &claimed, "c", "a") && !subscribe(&open, &claimed, "c", "a"));
}

#[test]
fn rules_are_not_about_the_service_itself() {
    let acl = rules("deny", &[("deny", "all", "all", "#")]);
    let service = Principal {
        origin: Origin::Service,
        ..user("s")
    };
    assert!(publish(&acl, &service, "c", "a") && subscribe(&acl, &service, "c", "#"));
    assert!(!publish(&acl, &service, "c", "$SYS/a"));
}
