//! What a run does.

use std::time::Duration;

/// How much is written, by whom, and what the clients put up with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many conversations.
    pub conversations: usize,
    /// Messages a second, all writers together.
    pub rate: f64,
    /// MQTT sessions of each agent. They take turns in kind: 3.1.1 over WebSocket, 5 over TCP, and one that is mostly away.
    pub agent_clients: usize,
    /// STOMP pages of each visitor that has one; every third visitor has none and uses HTTP.
    pub visitor_pages: usize,
    /// How much of what a reader hears it says it has read, from 0 to 1.
    pub reads: f64,
    /// How many of those that come back send something again that was acknowledged, from 0 to 1.
    pub repeats: f64,
    /// How often a client goes away of itself, on average; half of the time without a word.
    pub absence_every: Duration,
    /// How long it stays away, on average.
    pub absence: Duration,
    /// How long the client that is mostly away stays away.
    pub long_absence: Duration,
    /// What is not acknowledged after this time makes the client give its connection up.
    pub ack_timeout: Duration,
    /// A connection on which nothing comes for this long is dead. MQTT only: STOMP beats as the server offers.
    pub silence: Duration,
    /// How long everything may take to be where it belongs after the last message was written.
    pub settle: Duration,
    /// The length of a message's text.
    pub size: usize,
    /// What becomes of the conversations meanwhile.
    pub changes: Changes,
    /// Makes the decisions of two runs alike, as far as the network lets them.
    pub seed: u64,
}

/// How conversations are closed and handed over.
#[derive(Debug, Clone, Copy)]
pub struct Changes {
    /// How many conversations, besides the others, are handed over from one agent to another and back. They need two agents of one
    /// organisation.
    pub handed_over: usize,
    /// How often each of them is, on average.
    pub hand_over_every: Duration,
    /// How often an agent closes some conversation, on average; never if 0.
    pub close_every: Duration,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            handed_over: 0,
            hand_over_every: Duration::from_secs(3),
            close_every: Duration::ZERO,
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            conversations: 8,
            rate: 50.0,
            agent_clients: 3,
            visitor_pages: 1,
            reads: 0.3,
            repeats: 0.5,
            absence_every: Duration::from_secs(15),
            absence: Duration::from_millis(1500),
            long_absence: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(6),
            settle: Duration::from_secs(60),
            size: 64,
            changes: Changes::default(),
            seed: 1,
        }
    }
}
