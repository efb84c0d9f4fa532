use super::*;
use crate::{ChatTopic, Partitioning, TopicName};
use proptest::prelude::*;

/// Every topic pattern of deployed clients, with its home.
const PATTERNS: &[(&str, Home<'static>)] = &[
    ("user/u", Home::Uid("u")),
    ("user/u/messages", Home::Uid("u")),
    ("org/o", Home::Topic("org/o")),
    ("org/member/m", Home::Topic("org/member")),
    ("org/department/d", Home::Uid("d")),
    ("org/agent/a/v", Home::Uid("a")),
    ("org/agent/a", Home::Uid("a")),
    ("org/workgroup/w/v", Home::Uid("w")),
    ("org/workgroup/w", Home::Uid("w")),
    ("org/robot/r/v", Home::Uid("r")),
    ("org/robot/r/u/1", Home::Uid("r")),
    ("org/unified/e/v", Home::Uid("e")),
    ("org/member/a/b", Home::Topic("org/member")),
    ("org/member/b/a", Home::Topic("org/member")),
    ("org/group/g", Home::Uid("g")),
    ("org/ticket/department/d/t", Home::Uid("d")),
    ("org/ticket/agent/a/t", Home::Uid("a")),
    ("org/ticket/workgroup/w/t", Home::Uid("w")),
    ("org/kb/k/v", Home::Uid("k")),
    ("org/kbdoc/k/v", Home::Uid("k")),
    ("org/queue/a", Home::Uid("a")),
    ("file/u", Home::Uid("u")),
    ("clipboard/u", Home::Uid("u")),
    ("system/u", Home::Uid("u")),
    ("group/g", Home::Uid("g")),
    ("private/a/b", Home::Pair("a", "b")),
    ("private/b/a", Home::Pair("a", "b")),
    ("robot/r/v", Home::Uid("r")),
];

#[test]
fn every_pattern_of_deployed_clients_has_its_home_and_its_side_channel_too() {
    for (topic, home) in PATTERNS {
        assert_eq!(Home::of(topic), *home, "{topic}");
        let internal = format!("{topic}_internal");
        assert_eq!(Home::of(&internal), *home, "{internal}");
        assert!(ChatTopic::parse(topic).is_some(), "{topic}");
    }
}

#[test]
fn whichever_colleague_names_a_thread_it_has_one_home() {
    for topic in ["org/member/b/a", "org/member/b/a_internal", "private/b/a"] {
        let canonical = ChatTopic::canonical(&TopicName::trusted(topic));
        assert_eq!(Home::of(&canonical), Home::of(topic), "{topic}");
        assert_ne!(canonical.as_str(), topic);
    }
}

#[test]
fn an_ordinary_topic_is_its_own_home() {
    for topic in [
        "a",
        "a/b/c",
        "org",
        "org//a",
        "org/agent",
        "org/agent//v",
        "sensors/org/agent/a/b",
        "user//x",
    ] {
        assert_eq!(Home::of(topic), Home::Topic(topic));
    }
}

#[test]
fn a_filter_has_one_home_where_it_names_one() {
    let of = |f: &'static TopicFilter| Home::of_filter(f);
    let filter = |f: &str| -> &'static TopicFilter { Box::leak(Box::new(TopicFilter::new(f).unwrap())) };
    for (named, home) in [
        ("org/agent/a/+", Home::Uid("a")),
        ("org/agent/a/#", Home::Uid("a")),
        ("org/ticket/+/d/#", Home::Uid("d")),
        ("user/u/#", Home::Uid("u")),
        ("org/member/a/+", Home::Topic("org/member")),
        ("org/member/+/a", Home::Topic("org/member")),
        ("org/member/#", Home::Topic("org/member")),
        ("private/a/b/#", Home::Pair("a", "b")),
        ("x/y", Home::Topic("x/y")),
    ] {
        assert_eq!(of(filter(named)), Some(home), "{named}");
    }
    for several in [
        "#",
        "+/a",
        "org/+",
        "org/#",
        "org/agent/+/v",
        "org/agent/#",
        "private/a/+",
        "x/+",
    ] {
        assert_eq!(of(filter(several)), None, "{several}");
    }
}

fn level() -> impl Strategy<Value = &'static str> {
    const WORDS: &[&str] = &[
        "org",
        "agent",
        "workgroup",
        "queue",
        "ticket",
        "member",
        "user",
        "private",
        "file",
        "group",
        "robot",
        "$x",
        "a",
        "b",
        "a_internal",
        "_internal",
        "",
    ];
    proptest::sample::select(WORDS)
}

fn topic() -> impl Strategy<Value = String> {
    const KINDS: &[&str] = &[
        "",
        "org/agent/",
        "org/member/",
        "org/ticket/",
        "org/queue/",
        "user/",
        "private/",
        "org/",
    ];
    let levels = proptest::collection::vec(level(), 1..6);
    (proptest::sample::select(KINDS), levels).prop_map(|(kind, levels)| format!("{kind}{}", levels.join("/")))
}

/// A filter that matches the topic, unless a leading wildcard meets `$`: some levels become `+`, and the end `#`.
fn filter_of(topic: &str, plus: u16, hash: Option<usize>) -> String {
    let mut levels: Vec<&str> = topic.split('/').collect();
    for (i, level) in levels.iter_mut().enumerate() {
        if plus & (1 << i) != 0 {
            *level = "+";
        }
    }
    if let Some(at) = hash {
        levels.truncate(at % (levels.len() + 1));
        levels.push("#");
    }
    levels.join("/")
}

// A seed that fails is printed by proptest, with the smallest topic that it found.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_partition_of_a_topic_is_among_those_of_each_filter_that_matches(
        topic in topic(),
        other in topic(),
        plus in any::<u16>(),
        sparse in any::<bool>(),
        hash in proptest::option::of(0_usize..10),
        count in 1_u16..20,
    ) {
        let partitions = Partitioning::new(count);
        let plus = if sparse { plus & (plus >> 3) & (plus >> 7) } else { plus };
        let made = filter_of(&topic, plus, hash);
        if let Ok(filter) = TopicFilter::new(&made) {
            prop_assert!(filter.matches(&topic) || topic.starts_with('$'), "{made} and {topic}");
            for topic in [&topic, &other] {
                let concerned = partitions.of_filter("o", &filter);
                if filter.matches(topic) {
                    prop_assert!(concerned.contains(partitions.of("o", topic)), "{made} and {topic}");
                    let one = Home::of_filter(&filter);
                    prop_assert!(one.is_none_or(|home| home == Home::of(topic)), "{made} and {topic}");
                }
            }
        }
    }

    #[test]
    fn a_side_channel_lives_with_its_topic_whatever_that_is(topic in topic()) {
        let internal = format!("{topic}_internal");
        prop_assert_eq!(Home::of(&internal), Home::of(&topic));
    }
}
