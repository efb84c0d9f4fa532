use model::Position;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log. `duplicate`: it was before, and this is where.
    Stored {
        /// Where it stands.
        position: Position,
        /// Whether it is a resend.
        duplicate: bool,
    },
    /// The uid was used for another message.
    Conflict,
    /// It was not the sender's to send.
    Forbidden,
    /// A recall that is too late, or of nothing.
    Rejected,
    /// It is larger than a frame of the log may be.
    TooLarge,
    /// It is not stored, for want of room or of a working log.
    Unavailable(String),
    /// It may or may not be stored.
    Unknown,
}
