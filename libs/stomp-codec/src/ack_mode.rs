use crate::FrameError;
use crate::error::excerpt;

/// How a subscription is acknowledged: the `ack` header of SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckMode {
    /// Not at all; what is sent counts as received.
    #[default]
    Auto,
    /// Cumulatively: an ACK covers everything sent before it on the subscription.
    Client,
    /// One by one. Named by 1.1, used by 1.0 clients too.
    ClientIndividual,
}

impl AckMode {
    /// Reads the `ack` header; none means [`AckMode::Auto`].
    ///
    /// # Errors
    /// [`FrameError::BadAckMode`] for anything but the three modes.
    pub fn parse(value: Option<&str>) -> Result<AckMode, FrameError> {
        match value {
            None | Some("auto") => Ok(AckMode::Auto),
            Some("client") => Ok(AckMode::Client),
            Some("client-individual") => Ok(AckMode::ClientIndividual),
            Some(other) => Err(FrameError::BadAckMode {
                value: excerpt(other.as_bytes()),
            }),
        }
    }

    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            AckMode::Auto => "auto",
            AckMode::Client => "client",
            AckMode::ClientIndividual => "client-individual",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_modes_go_there_and_back_and_others_are_refused() {
        for mode in [AckMode::Auto, AckMode::Client, AckMode::ClientIndividual] {
            assert_eq!(AckMode::parse(Some(mode.as_str())), Ok(mode));
        }
        assert_eq!(AckMode::parse(None), Ok(AckMode::Auto));
        for bad in ["", "Auto", "client ", "individual"] {
            assert!(AckMode::parse(Some(bad)).is_err(), "{bad:?}");
        }
    }
}
