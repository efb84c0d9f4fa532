//! Reason codes (MQTT 5 §2.4) and the CONNACK return codes of 3.1.1.

use std::fmt;

use crate::types::{PacketType, Role};

macro_rules! reason_codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        /// A reason code of MQTT 5, named as the specification names it. 0x80 and above mean failure.
        ///
        /// Packets of 3.1.1 use the same type; what has no counterpart there is refused when encoding.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = concat!(stringify!($code), " ", $text, ".")] $(#[$meta])* $name = $code,)+
        }

        impl ReasonCode {
            /// The reason code of a byte, if there is one.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($code => Some(Self::$name),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for ReasonCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)+ })
            }
        }
    };
}

reason_codes! {
    #[default]
    Success = 0x00, "Success";
    GrantedQoS1 = 0x01, "Granted QoS 1";
    GrantedQoS2 = 0x02, "Granted QoS 2";
    DisconnectWithWillMessage = 0x04, "Disconnect with Will Message";
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    NoSubscriptionExisted = 0x11, "No subscription existed";
    ContinueAuthentication = 0x18, "Continue authentication";
    ReAuthenticate = 0x19, "Re-authenticate";
    UnspecifiedError = 0x80, "Unspecified error";
    MalformedPacket = 0x81, "Malformed Packet";
    ProtocolError = 0x82, "Protocol Error";
    ImplementationSpecificError = 0x83, "Implementation specific error";
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid";
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    NotAuthorized = 0x87, "Not authorized";
    ServerUnavailable = 0x88, "Server unavailable";
    ServerBusy = 0x89, "Server busy";
    Banned = 0x8A, "Banned";
    ServerShuttingDown = 0x8B, "Server shutting down";
    BadAuthenticationMethod = 0x8C, "Bad authentication method";
    KeepAliveTimeout = 0x8D, "Keep Alive timeout";
    SessionTakenOver = 0x8E, "Session taken over";
    TopicFilterInvalid = 0x8F, "Topic Filter invalid";
    TopicNameInvalid = 0x90, "Topic Name invalid";
    PacketIdentifierInUse = 0x91, "Packet Identifier in use";
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found";
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    PacketTooLarge = 0x95, "Packet too large";
    MessageRateTooHigh = 0x96, "Message rate too high";
    QuotaExceeded = 0x97, "Quota exceeded";
    AdministrativeAction = 0x98, "Administrative action";
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    RetainNotSupported = 0x9A, "Retain not supported";
    QoSNotSupported = 0x9B, "QoS not supported";
    UseAnotherServer = 0x9C, "Use another server";
    ServerMoved = 0x9D, "Server moved";
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported";
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded";
    MaximumConnectTime = 0xA0, "Maximum connect time";
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported";
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported";
}

impl ReasonCode {
    /// 0x00 in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// 0x00 in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// Whether the code reports a failure.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether `sender` may use this code in `packet` (the reason code tables of §3.2 to §3.15).
    pub const fn allowed_in(self, packet: PacketType, sender: Role) -> bool {
        let code = self as u8;
        let by_server = matches!(sender, Role::Server);
        match packet {
            PacketType::ConnAck => {
                matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            PacketType::PubAck | PacketType::PubRec => match code {
                0x10 => by_server,
                _ => matches!(code, 0x00 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99),
            },
            PacketType::PubRel | PacketType::PubComp => matches!(code, 0x00 | 0x92),
            PacketType::SubAck => matches!(
                code,
                0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
            ),
            PacketType::UnsubAck => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            PacketType::Disconnect => match code {
                0x04 => !by_server,
                0x00 | 0x80..=0x83 | 0x90 | 0x93..=0x99 => true,
                // 0x8C is listed for DISCONNECT in §2.4 only.
                0x87 | 0x89 | 0x8B..=0x8F | 0x9A..=0xA2 => by_server,
                _ => false,
            },
            PacketType::Auth => match code {
                0x00 => by_server,
                0x18 => true,
                0x19 => !by_server,
                _ => false,
            },
            _ => false,
        }
    }

    /// The CONNACK return code of 3.1.1 that says the same; `None` where 3.1.1 has none and the server
    /// closes without CONNACK `[MQTT-3.2.2-6]`.
    pub const fn connect_return_code(self) -> Option<ConnectReturnCode> {
        Some(match self {
            Self::Success => ConnectReturnCode::Accepted,
            Self::UnsupportedProtocolVersion => ConnectReturnCode::UnacceptableProtocolVersion,
            Self::ClientIdentifierNotValid => ConnectReturnCode::IdentifierRejected,
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::QuotaExceeded
            | Self::ConnectionRateExceeded => ConnectReturnCode::ServerUnavailable,
            Self::BadUserNameOrPassword => ConnectReturnCode::BadUserNameOrPassword,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => {
                ConnectReturnCode::NotAuthorized
            }
            _ => return None,
        })
    }
}

/// The return codes of a 3.1.1 CONNACK (3.1.1 §3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// Connection accepted.
    Accepted = 0,
    /// The server does not support the level of the MQTT protocol requested.
    UnacceptableProtocolVersion = 1,
    /// The client identifier is not allowed by the server.
    IdentifierRejected = 2,
    /// The MQTT service is unavailable.
    ServerUnavailable = 3,
    /// The data in the user name or password is malformed, or wrong.
    BadUserNameOrPassword = 4,
    /// The client is not authorised to connect.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// The return code of a byte, if there is one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Accepted,
            1 => Self::UnacceptableProtocolVersion,
            2 => Self::IdentifierRejected,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }

    /// The reason code of MQTT 5 that says the same.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Accepted => ReasonCode::Success,
            Self::UnacceptableProtocolVersion => ReasonCode::UnsupportedProtocolVersion,
            Self::IdentifierRejected => ReasonCode::ClientIdentifierNotValid,
            Self::ServerUnavailable => ReasonCode::ServerUnavailable,
            Self::BadUserNameOrPassword => ReasonCode::BadUserNameOrPassword,
            Self::NotAuthorized => ReasonCode::NotAuthorized,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_return_code_of_3_1_1_survives_the_way_through_reason_codes() {
        for byte in 0..=5 {
            let code = ConnectReturnCode::from_byte(byte).unwrap();
            assert_eq!(code as u8, byte);
            assert_eq!(code.reason_code().connect_return_code(), Some(code));
            assert!(code.reason_code().allowed_in(PacketType::ConnAck, Role::Server));
        }
        assert_eq!(ConnectReturnCode::from_byte(6), None);
    }

    #[test]
    fn there_are_forty_three_reason_codes_and_each_has_a_packet() {
        let all: Vec<_> = (0..=u8::MAX).filter_map(ReasonCode::from_byte).collect();
        assert_eq!(all.len(), 43);
        let packets = (1..=15u8).filter_map(|kind| PacketType::from_first_byte(kind << 4));
        let packets: Vec<_> = packets.collect();
        for code in all {
            let mut used = packets
                .iter()
                .flat_map(|&p| [(p, Role::Server), (p, Role::Client)]);
            assert!(
                used.any(|(packet, sender)| code.allowed_in(packet, sender)),
                "{code}"
            );
        }
    }
}
