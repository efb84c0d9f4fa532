use super::*;

fn entered(org: &str, user: &str, connection: &str, card: &str) -> Entered {
    Entered {
        org: org.into(),
        user: user.into(),
        at: Presence {
            edge: "e".into(),
            connection: connection.to_owned(),
            protocol: "mqtt".to_owned(),
            staff: false,
        },
        card: card.to_owned(),
    }
}

#[test]
fn the_connections_of_a_user_are_entered_together_and_the_first_with_a_card_gets_the_answer() {
    let all = [
        entered("o", "a", "1", ""),
        entered("o", "b", "1", "B"),
        entered("o", "a", "2", "A"),
        entered("o", "a", "3", "A"),
    ];
    let users = by_user(&all);
    let seen: Vec<_> = users
        .iter()
        .map(|u| (u.who.as_str(), u.card, u.answer, u.at.len()))
        .collect();
    assert_eq!(seen, [("1:o:a", "A", Some(2), 3), ("1:o:b", "B", Some(1), 1)]);
}

#[test]
fn a_name_in_keys_is_read_back_whatever_it_holds() {
    for (org, user) in [("o", "u"), ("a:b", "c:d"), ("", ":"), ("3:é", "用户")] {
        let (org, user) = (OrgId::new(org), UserId::new(user));
        let read = departed((who(&org, &user), String::new()));
        assert_eq!(read.map(|d| (d.org, d.user)), Some((org, user)));
    }
    assert_eq!(departed(("9:o:u".to_owned(), String::new())), None);
}

#[test]
fn a_password_has_its_own_setting_and_bad_settings_are_named() {
    let with = |url: &str| RedisConfig {
        url: url.to_owned(),
        ..RedisConfig::default()
    };
    assert!(RedisConfig::default().validate().is_ok());
    assert!(with("rediss://redis.example:6380/2").validate().is_ok());
    for url in ["redis://:secret@host", "http://host", "host"] {
        let error = with(url).validate().unwrap_err().to_string();
        assert!(error.contains("url") && !error.contains("secret"), "{error}");
    }
    let never = RedisConfig {
        response_timeout: runtime::config::HumanDuration::ZERO,
        ..RedisConfig::default()
    };
    assert!(
        never
            .validate()
            .unwrap_err()
            .to_string()
            .contains("response_timeout")
    );
}
