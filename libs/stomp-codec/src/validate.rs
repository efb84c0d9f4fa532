use crate::{Command, Frame, FrameError, Version};

/// Whether a frame exists in the version, has the headers its command needs, and no body where none is allowed. It
/// does not look into values. `host` is not asked of CONNECT, though 1.1 and 1.2 say so: deployed clients leave it
/// out.
///
/// # Errors
/// The first thing wrong, fit to be sent back in an ERROR frame.
pub fn validate(frame: &Frame, version: Version) -> Result<(), FrameError> {
    let command = frame.command;
    if version == Version::V10 && command == Command::Nack {
        return Err(FrameError::NotInVersion { command, version });
    }
    for &header in required(command, version) {
        if frame.get(header).is_none() {
            return Err(FrameError::MissingHeader {
                command,
                header,
                version,
            });
        }
    }
    let is_1_0_unsubscribe = version == Version::V10 && command == Command::Unsubscribe;
    if is_1_0_unsubscribe && frame.get("id").or_else(|| frame.get("destination")).is_none() {
        return Err(FrameError::MissingHeader {
            command,
            header: "id or destination",
            version,
        });
    }
    if version >= Version::V11 && !command.may_have_body() && !frame.body.is_empty() {
        return Err(FrameError::BodyNotAllowed { command });
    }
    Ok(())
}

fn required(command: Command, version: Version) -> &'static [&'static str] {
    use Version::{V10, V11, V12};
    match (command, version) {
        (Command::Connect, V11 | V12) | (Command::Stomp, _) => &["accept-version"],
        (Command::Send, _) | (Command::Subscribe, V10) => &["destination"],
        (Command::Subscribe, V11 | V12) => &["destination", "id"],
        (Command::Unsubscribe, V11 | V12) => &["id"],
        (Command::Ack | Command::Nack, V10) => &["message-id"],
        (Command::Ack | Command::Nack, V11) => &["message-id", "subscription"],
        (Command::Ack | Command::Nack, V12) => &["id"],
        (Command::Begin | Command::Commit | Command::Abort, _) => &["transaction"],
        (Command::Connected, V11 | V12) => &["version"],
        (Command::Message, V10) => &["destination", "message-id"],
        (Command::Message, V11 | V12) => &["destination", "message-id", "subscription"],
        (Command::Receipt, _) => &["receipt-id"],
        (Command::Connect | Command::Connected | Command::Unsubscribe, V10)
        | (Command::Disconnect | Command::Error, _) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Version::{V10, V11, V12};

    fn missing(command: Command, version: Version, headers: &[&str]) -> Option<&'static str> {
        let frame = headers
            .iter()
            .fold(Frame::new(command), |frame, name| frame.with_header(name, "x"));
        match validate(&frame, version) {
            Ok(()) => None,
            Err(FrameError::MissingHeader { header, .. }) => Some(header),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_missing_header_is_named_by_command_and_version() {
        use Command::*;
        for (command, version, headers, expected) in [
            (Connect, V10, &[][..], None),
            (Connect, V12, &[], Some("accept-version")),
            (Connect, V12, &["accept-version"], None),
            (Stomp, V10, &[], Some("accept-version")),
            (Send, V10, &[], Some("destination")),
            (Send, V12, &["destination"], None),
            (Subscribe, V10, &["destination"], None),
            (Subscribe, V11, &["destination"], Some("id")),
            (Subscribe, V12, &["id"], Some("destination")),
            (Unsubscribe, V10, &[], Some("id or destination")),
            (Unsubscribe, V10, &["destination"], None),
            (Unsubscribe, V11, &["destination"], Some("id")),
            (Ack, V10, &["message-id"], None),
            (Ack, V11, &["message-id"], Some("subscription")),
            (Ack, V11, &["message-id", "subscription"], None),
            (Ack, V12, &["message-id", "subscription"], Some("id")),
            (Nack, V12, &["id"], None),
            (Begin, V12, &[], Some("transaction")),
            (Commit, V10, &[], Some("transaction")),
            (Abort, V11, &["transaction"], None),
            (Disconnect, V12, &[], None),
            (Message, V10, &["destination", "message-id"], None),
            (Message, V12, &["destination", "message-id"], Some("subscription")),
            (Receipt, V12, &[], Some("receipt-id")),
            (Connected, V11, &[], Some("version")),
            (Error, V12, &[], None),
        ] {
            assert_eq!(
                missing(command, version, headers),
                expected,
                "{command} {version} {headers:?}"
            );
        }
    }

    #[test]
    fn nack_does_not_exist_in_1_0() {
        let nack = Frame::new(Command::Nack).with_header("message-id", "1");
        let error = validate(&nack, V10).unwrap_err();
        assert_eq!(error.to_string(), "NACK does not exist in STOMP 1.0");
    }

    #[test]
    fn only_send_message_and_error_have_bodies_since_1_1() {
        let subscribe = Frame::new(Command::Subscribe)
            .with_header("destination", "/topic/a")
            .with_header("id", "0")
            .with_body("x");
        assert_eq!(validate(&subscribe, V10), Ok(()));
        let refused = Err(FrameError::BodyNotAllowed {
            command: Command::Subscribe,
        });
        assert_eq!(validate(&subscribe, V11), refused);
        assert_eq!(validate(&subscribe, V12), refused);
    }
}
