//! Destinations: `/app/{dotted}`, `/topic/{dotted}`, `/user/queue/messages`.

use edge::Refusal;
use model::TopicName;

/// The destination that stands for a user's own topic.
pub(crate) const USER_QUEUE: &str = "/user/queue/messages";

/// Where a SEND goes.
pub(crate) fn to_send(destination: &str) -> Result<TopicName, Refusal> {
    let dotted = destination
        .strip_prefix("/app/")
        .or_else(|| destination.strip_prefix("/topic/"));
    match dotted {
        Some(dotted) => topic(destination, dotted),
        None => Err(Refusal::invalid(format!(
            "SEND to {destination:?}: send to /app/ and the topic with its slashes written as dots"
        ))),
    }
}

/// What a SUBSCRIBE asks for; `None` is the user's own topic.
pub(crate) fn to_subscribe(destination: &str) -> Result<Option<TopicName>, Refusal> {
    if destination == USER_QUEUE {
        return Ok(None);
    }
    match destination.strip_prefix("/topic/") {
        Some(dotted) => topic(destination, dotted).map(Some),
        None => Err(Refusal::invalid(format!(
            "SUBSCRIBE to {destination:?}: subscribe to /topic/ and the topic with its slashes written as dots, or to {USER_QUEUE}"
        ))),
    }
}

fn topic(destination: &str, dotted: &str) -> Result<TopicName, Refusal> {
    TopicName::from_dotted(dotted)
        .map_err(|e| Refusal::invalid(format!("the destination {destination:?}: {e}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_for_slashes() {
        let topic = TopicName::new("org/agent/a/v").unwrap();
        assert_eq!(to_send("/app/org.agent.a.v").unwrap(), topic);
        assert_eq!(to_send("/topic/org.agent.a.v").unwrap(), topic);
        assert_eq!(to_subscribe("/topic/org.agent.a.v").unwrap(), Some(topic));
        assert_eq!(to_subscribe(USER_QUEUE).unwrap(), None);
    }

    #[test]
    fn other_destinations_and_patterns_are_refused() {
        for bad in ["", "/app/", "org.agent.a.v", "/queue/x", "/app/a.#", "/topic/a.+"] {
            assert!(to_send(bad).is_err(), "{bad}");
            assert!(to_subscribe(bad).is_err(), "{bad}");
        }
        assert!(to_subscribe("/app/org.agent.a.v").is_err());
    }
}
