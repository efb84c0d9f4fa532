//! What came out: for people as a table, for machines as JSON.

use std::fmt;

use serde::Serialize;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Invariant {
    /// Every acknowledged message is in history exactly once and reaches everyone entitled to it.
    I1,
    /// No uid is twice in history, no position twice with an observer unless marked.
    I2,
    /// One order for all: history, every observer, and the chain of `prev`.
    I3,
    /// Receipts go forward only, and none is lost or made up.
    I4,
    /// Counters equal a recount.
    I5,
    /// What was not acknowledged is there once or not at all.
    I7,
    /// Conversations are closed, go on and are handed over as it was asked for, and each agent gets its stretches of them.
    I11,
}

impl Invariant {
    /// All that are checked.
    pub const ALL: [Self; 7] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I7,
        Self::I11,
    ];

    /// In words.
    pub fn says(self) -> &'static str {
        match self {
            Self::I1 => "what was acknowledged is in history, and reached everyone entitled to it",
            Self::I2 => "nothing is there twice",
            Self::I3 => "one order for history and everyone who listens",
            Self::I4 => "receipts go forward only",
            Self::I5 => "unread counters equal a recount",
            Self::I7 => "what was not acknowledged is there once or not at all",
            Self::I11 => "closed and handed over as asked, and each agent has its stretches",
        }
    }
}

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The places that speak of it, as decimal strings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<String>,
    /// Who saw it, or did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observer: Option<String>,
    /// When it was first sent, in milliseconds since the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<u32>,
    /// When it was acknowledged, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_ms: Option<u32>,
    /// By what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<&'static str>,
    /// Where it was seen: observer and time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<String>,
    /// When the observer had the conversation, if it had a part of it only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stretch: Option<String>,
    /// When the connections of the observer began that it had when the message was sent, and after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connected_ms: Vec<u32>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let texts = [
            ("uid", self.uid.as_deref()),
            ("topic", self.topic.as_deref()),
            ("observer", self.observer.as_deref()),
        ];
        for (name, text) in texts {
            parts.extend(text.map(|text| format!("{name} {text}")));
        }
        if !self.positions.is_empty() {
            parts.push(format!("position {}", self.positions.join(", ")));
        }
        parts.extend(self.sent_ms.map(|at| format!("sent at {}", seconds(at))));
        if let (Some(at), by) = (self.acknowledged_ms, self.acknowledged_by.unwrap_or("an answer")) {
            parts.push(format!("acknowledged by {by} at {}", seconds(at)));
        }
        if !self.seen.is_empty() {
            parts.push(format!("seen by {}", self.seen.join("; ")));
        }
        parts.extend(self.stretch.clone());
        if !self.connected_ms.is_empty() {
            let at: Vec<String> = self.connected_ms.iter().map(|at| seconds(*at)).collect();
            parts.push(format!("connected at {}", at.join(", ")));
        }
        f.write_str(&parts.join(" · "))
    }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: u32) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it breaks.
    pub invariant: Invariant,
    /// In words.
    pub what: String,
    /// Where to look.
    pub evidence: Evidence,
    /// Whether time may heal it: something is not there yet. At the end of the run it was looked at again and again.
    #[serde(skip)]
    pub may_heal: bool,
}

/// What became of conversations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ChangeFigures {
    /// Closings that were acknowledged.
    pub closings: u64,
    /// Transfers that were acknowledged.
    pub transfers: u64,
    /// Transfers that were accepted too late, or twice.
    pub refused_transfers: u64,
}

/// What was measured on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Messages sent, each counted once.
    pub sent: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages never acknowledged.
    pub unacknowledged: u64,
    /// Messages that the server refused for good.
    pub refused: u64,
    /// READ receipts acknowledged.
    pub reads: u64,
    /// Deliveries, copies included.
    pub delivered: u64,
    /// Times that something was sent again.
    pub resends: u64,
    /// Of these, what did not say when it was written.
    pub undated_resends: u64,
    /// Of these, what had been acknowledged before.
    pub repeats: u64,
    /// Connections lost and made again, those that the run gave up of itself not counted.
    pub reconnects: u64,
    /// What became of conversations.
    #[serde(flatten)]
    pub changes: ChangeFigures,
    /// Copies marked as redelivered.
    pub copies_marked: u64,
    /// Copies on a later connection without a mark.
    pub copies_unmarked: u64,
    /// The oldest unmarked copy: how long before its connection was last heard the first one had come, in ms.
    pub oldest_copy_ms: u32,
    /// Of a writer's messages, how many are in history after a later one of the same writer.
    pub overtaken: u64,
    /// The longest time without any acknowledgement while there was something to acknowledge, in ms.
    pub longest_ack_pause_ms: u32,
    /// The longest time from the loss of a connection to its successor, in ms.
    pub longest_reconnect_ms: u32,
    /// From sending to acknowledgement, in ms: median, 99th percentile, greatest.
    pub ack_ms: [u32; 3],
    /// From sending to delivery, to observers that were connected, in ms: median, 99th percentile, greatest.
    pub delivery_ms: [u32; 3],
    /// From the end of writing until everything was where it belongs, in ms.
    pub settled_ms: u32,
}

/// The judgement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether everything was proven.
    pub holds: bool,
    /// What is broken; of each kind the first ones.
    pub findings: Vec<Finding>,
    /// How many there are of each invariant.
    pub broken: Vec<(Invariant, u64)>,
    /// What could not be looked at, and so is not proven.
    pub unproven: Vec<String>,
    /// What was measured.
    pub figures: Figures,
    /// The start of every uid of the run.
    pub run: String,
    /// The seed that repeats its decisions.
    pub seed: u64,
}

impl Verdict {
    /// The process exit code: 0 holds, 1 broken, 2 not proven.
    pub fn exit_code(&self) -> u8 {
        match (self.holds, self.findings.is_empty()) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        }
    }

    /// How many findings there are of an invariant.
    pub fn count(&self, invariant: Invariant) -> u64 {
        let of = self.broken.iter().find(|(i, _)| *i == invariant);
        of.map_or(0, |(_, count)| *count)
    }

    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a verdict has only text and numbers")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run {}, seed {}", self.run, self.seed)?;
        writeln!(f)?;
        for invariant in Invariant::ALL {
            let mark = match self.count(invariant) {
                0 if self.unproven.is_empty() => "holds".to_owned(),
                0 => "not broken".to_owned(),
                count => format!("BROKEN {count} times"),
            };
            writeln!(
                f,
                "  {:<4}{:<72} {mark}",
                format!("{invariant:?}"),
                invariant.says()
            )?;
        }
        for finding in &self.findings {
            writeln!(
                f,
                "\n  {:?}  {}\n      {}",
                finding.invariant, finding.what, finding.evidence
            )?;
        }
        for unproven in &self.unproven {
            writeln!(f, "\n  not proven: {unproven}")?;
        }
        writeln!(f)?;
        self.figures.fmt(f)?;
        let verdict = match self.exit_code() {
            0 => "everything holds",
            1 => "BROKEN",
            _ => "not proven",
        };
        write!(f, "\nverdict: {verdict}")
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let three = |[a, b, c]: [u32; 3]| format!("{a} / {b} / {c} ms (median / p99 / greatest)");
        let rows = [
            (
                "messages",
                format!(
                    "{} sent, {} acknowledged, {} not, {} refused",
                    self.sent, self.acknowledged, self.unacknowledged, self.refused
                ),
            ),
            ("READ receipts", format!("{} acknowledged", self.reads)),
            (
                "conversations",
                format!(
                    "closed {} times, handed over {} times, {} transfers refused",
                    self.changes.closings, self.changes.transfers, self.changes.refused_transfers
                ),
            ),
            (
                "deliveries",
                format!(
                    "{}, {} marked copies, {} unmarked (oldest {})",
                    self.delivered,
                    self.copies_marked,
                    self.copies_unmarked,
                    seconds(self.oldest_copy_ms)
                ),
            ),
            (
                "connections",
                format!(
                    "{} lost and made again, {} overtaken",
                    self.reconnects, self.overtaken
                ),
            ),
            (
                "sent again",
                format!(
                    "{}, {} of them without createdAt, {} after their acknowledgement",
                    self.resends, self.undated_resends, self.repeats
                ),
            ),
            ("longest pause", seconds(self.longest_ack_pause_ms)),
            ("longest reconnect", seconds(self.longest_reconnect_ms)),
            ("acknowledged in", three(self.ack_ms)),
            ("delivered in", three(self.delivery_ms)),
            ("settled in", seconds(self.settled_ms)),
        ];
        for (name, value) in rows {
            writeln!(f, "  {name:<18} {value}")?;
        }
        Ok(())
    }
}
