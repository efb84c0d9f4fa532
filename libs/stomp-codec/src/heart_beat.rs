use std::fmt;

use crate::FrameError;
use crate::error::excerpt;

/// A `heart-beat` header: what one side offers and asks, in milliseconds; 0 is "no".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeartBeat {
    /// It can send something at least this often.
    pub send: u32,
    /// It would like to receive something this often.
    pub want: u32,
}

impl HeartBeat {
    /// `0,0`, which is also what no header means.
    pub const NONE: HeartBeat = HeartBeat { send: 0, want: 0 };

    /// Reads the value of a `heart-beat` header.
    ///
    /// # Errors
    /// [`FrameError::BadHeartBeat`] unless it is two decimal numbers below 2^32 with a comma between.
    pub fn parse(value: &str) -> Result<HeartBeat, FrameError> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        value
            .split_once(',')
            .and_then(|(send, want)| {
                Some(HeartBeat {
                    send: number(send)?,
                    want: number(want)?,
                })
            })
            .ok_or_else(|| FrameError::BadHeartBeat {
                value: excerpt(value.as_bytes()),
            })
    }

    /// `(we_send_every, we_expect_every)` for the server, in milliseconds, 0 for none: each direction beats at the
    /// slower of what its sender can and its receiver wants (STOMP 1.1 and 1.2, "Heart-beating"). Leave a margin on
    /// the second before calling a client dead.
    pub fn negotiate(server: HeartBeat, client: HeartBeat) -> (u32, u32) {
        let agree = |can: u32, wants: u32| if can == 0 || wants == 0 { 0 } else { can.max(wants) };
        (agree(server.send, client.want), agree(client.send, server.want))
    }
}

impl fmt::Display for HeartBeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.send, self.want)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_plain_numbers_are_a_heart_beat() {
        assert_eq!(
            HeartBeat::parse("10000,0"),
            Ok(HeartBeat {
                send: 10_000,
                want: 0
            })
        );
        assert_eq!(
            HeartBeat::parse("4294967295,1"),
            Ok(HeartBeat {
                send: u32::MAX,
                want: 1
            })
        );
        for bad in [
            "",
            ",",
            "1",
            "1,",
            ",1",
            "1,2,3",
            "+1,2",
            "-1,2",
            "1, 2",
            "4294967296,0",
            "a,b",
        ] {
            assert!(HeartBeat::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_direction_takes_the_slower_side_and_zero_means_none() {
        let beat = |send, want| HeartBeat { send, want };
        for (server, client, agreed) in [
            (beat(10, 10), beat(0, 0), (0, 0)),
            (beat(10, 10), beat(20, 5), (10, 20)),
            (beat(10, 30), beat(20, 40), (40, 30)),
            (beat(0, 10), beat(10, 10), (0, 10)),
            (beat(10, 0), beat(10, 10), (10, 0)),
        ] {
            assert_eq!(HeartBeat::negotiate(server, client), agreed, "{server} {client}");
        }
    }
}
