use std::fmt;

/// The side of the connection that a decoder sits on: it reads what the other side may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads client frames.
    Server,
    /// Reads server frames.
    Client,
}

/// Every command of STOMP 1.0 to 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// `CONNECT`, from clients.
    Connect,
    /// `STOMP`, from clients: CONNECT under another name, since 1.1.
    Stomp,
    /// `SEND`, from clients.
    Send,
    /// `SUBSCRIBE`, from clients.
    Subscribe,
    /// `UNSUBSCRIBE`, from clients.
    Unsubscribe,
    /// `ACK`, from clients.
    Ack,
    /// `NACK`, from clients, since 1.1.
    Nack,
    /// `BEGIN`, from clients.
    Begin,
    /// `COMMIT`, from clients.
    Commit,
    /// `ABORT`, from clients.
    Abort,
    /// `DISCONNECT`, from clients.
    Disconnect,
    /// `CONNECTED`, from servers.
    Connected,
    /// `MESSAGE`, from servers.
    Message,
    /// `RECEIPT`, from servers.
    Receipt,
    /// `ERROR`, from servers.
    Error,
}

impl Command {
    /// All of them.
    pub const ALL: [Command; 15] = [
        Command::Connect,
        Command::Stomp,
        Command::Send,
        Command::Subscribe,
        Command::Unsubscribe,
        Command::Ack,
        Command::Nack,
        Command::Begin,
        Command::Commit,
        Command::Abort,
        Command::Disconnect,
        Command::Connected,
        Command::Message,
        Command::Receipt,
        Command::Error,
    ];

    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Command::Connect => "CONNECT",
            Command::Stomp => "STOMP",
            Command::Send => "SEND",
            Command::Subscribe => "SUBSCRIBE",
            Command::Unsubscribe => "UNSUBSCRIBE",
            Command::Ack => "ACK",
            Command::Nack => "NACK",
            Command::Begin => "BEGIN",
            Command::Commit => "COMMIT",
            Command::Abort => "ABORT",
            Command::Disconnect => "DISCONNECT",
            Command::Connected => "CONNECTED",
            Command::Message => "MESSAGE",
            Command::Receipt => "RECEIPT",
            Command::Error => "ERROR",
        }
    }

    /// The command with this exact spelling; commands are case-sensitive.
    pub fn parse(line: &[u8]) -> Option<Command> {
        Some(match line {
            b"CONNECT" => Command::Connect,
            b"STOMP" => Command::Stomp,
            b"SEND" => Command::Send,
            b"SUBSCRIBE" => Command::Subscribe,
            b"UNSUBSCRIBE" => Command::Unsubscribe,
            b"ACK" => Command::Ack,
            b"NACK" => Command::Nack,
            b"BEGIN" => Command::Begin,
            b"COMMIT" => Command::Commit,
            b"ABORT" => Command::Abort,
            b"DISCONNECT" => Command::Disconnect,
            b"CONNECTED" => Command::Connected,
            b"MESSAGE" => Command::Message,
            b"RECEIPT" => Command::Receipt,
            b"ERROR" => Command::Error,
            _ => return None,
        })
    }

    /// Who sends this command.
    pub const fn sender(self) -> Role {
        match self {
            Command::Connected | Command::Message | Command::Receipt | Command::Error => Role::Server,
            _ => Role::Client,
        }
    }

    /// CONNECT, STOMP and CONNECTED: sent before a version is agreed, so they escape nothing and may use CR LF.
    pub const fn is_handshake(self) -> bool {
        matches!(self, Command::Connect | Command::Stomp | Command::Connected)
    }

    /// Whether a body is allowed, by STOMP 1.1 and 1.2, "Body".
    pub const fn may_have_body(self) -> bool {
        matches!(self, Command::Send | Command::Message | Command::Error)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
