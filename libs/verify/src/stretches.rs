//! Who has a conversation that is handed over, from where to where: read from what stands in its history.

use crate::record::Says;

/// The agent whose desk it is, and the other.
const OF_DESK: usize = 0;

/// From where to where one of the two has it, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) side: usize,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The stretches of both.
#[derive(Debug, Clone)]
pub(crate) struct Stretches {
    all: Vec<Stretch>,
}

impl Stretches {
    /// One of them has it at first.
    pub(crate) fn new(first: usize) -> Self {
        let mut stretches = Self { all: Vec::new() };
        stretches.begin(first, 0);
        stretches
    }

    /// Those that a whole history tells. `messages` in its order, each with whether somebody speaks in it.
    pub(crate) fn of(first: usize, messages: impl Iterator<Item = (u64, Says, bool)>) -> Self {
        let mut stretches = Self::new(first);
        messages.for_each(|(position, says, speaks)| stretches.take(position, says, speaks));
        stretches
    }

    /// Takes in the next message.
    pub(crate) fn take(&mut self, position: u64, says: Says, speaks: bool) {
        match (says, self.holder()) {
            // The change is the last that the one sees, and the first that the other sees.
            (Says::HandedOver, Some(holder)) => {
                self.end(position);
                self.begin(1 - holder, position);
            }
            // Whose desk it is has it still. The other has it no more, and who speaks next speaks to the desk.
            (Says::AgentClosed | Says::Closed, Some(holder)) if holder != OF_DESK => self.end(position),
            (Says::Nothing, None) if speaks => self.begin(OF_DESK, position),
            _ => {}
        }
    }

    /// Who has it now.
    pub(crate) fn holder(&self) -> Option<usize> {
        let last = self.all.last().filter(|stretch| stretch.to == u64::MAX);
        last.map(|stretch| stretch.side)
    }

    /// Whether one of the two sees a place.
    pub(crate) fn covers(&self, side: usize, position: u64) -> bool {
        let mut own = self.all.iter().filter(|stretch| stretch.side == side);
        own.any(|stretch| (stretch.from..=stretch.to).contains(&position))
    }

    /// The stretch of one of the two that a place is in, or those before and after it, in words.
    pub(crate) fn around(&self, side: usize, position: u64) -> String {
        let own = || self.all.iter().filter(|stretch| stretch.side == side);
        if let Some(own) = own().find(|stretch| (stretch.from..=stretch.to).contains(&position)) {
            return match own.to {
                u64::MAX => format!("it was its from {} on", own.from),
                to => format!("it was its from {} up to {to}", own.from),
            };
        }
        let before = own().rev().find(|stretch| stretch.to < position);
        let after = own().find(|stretch| stretch.from > position);
        let before = before.map_or("it had not been its".to_owned(), |s| {
            format!("it was its up to {}", s.to)
        });
        match after {
            Some(stretch) => format!("{before}, and again from {}", stretch.from),
            None => before,
        }
    }

    /// Whether one of the two has, or had, it at all.
    pub(crate) fn has(&self, side: usize) -> bool {
        self.all.iter().any(|stretch| stretch.side == side)
    }

    fn begin(&mut self, side: usize, from: u64) {
        self.all.push(Stretch {
            side,
            from,
            to: u64::MAX,
        });
    }

    fn end(&mut self, to: u64) {
        if let Some(last) = self.all.last_mut() {
            last.to = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(first: usize, messages: &[(u64, Says)]) -> Vec<(usize, u64, u64)> {
        let messages = messages
            .iter()
            .map(|(at, says)| (*at, *says, *says == Says::Nothing));
        let stretches = Stretches::of(first, messages);
        stretches.all.iter().map(|s| (s.side, s.from, s.to)).collect()
    }

    #[test]
    fn a_transfer_ends_one_stretch_and_begins_the_other_at_its_own_place() {
        use Says::{HandedOver, Nothing};
        let log = [(10, Nothing), (20, HandedOver), (30, Nothing), (40, HandedOver)];
        assert_eq!(of(0, &log), [(0, 0, 20), (1, 20, 40), (0, 40, u64::MAX)]);
        assert_eq!(of(1, &log[..2]), [(1, 0, 20), (0, 20, u64::MAX)]);
    }

    #[test]
    fn what_is_closed_with_the_other_goes_on_at_the_desk_with_the_next_message() {
        use Says::{AgentClosed, Closed, HandedOver, Nothing};
        let log = [
            (10, AgentClosed),
            (20, Nothing),
            (30, HandedOver),
            (40, Closed),
            (50, Nothing),
        ];
        assert_eq!(of(0, &log), [(0, 0, 30), (1, 30, 40), (0, 50, u64::MAX)]);
        let stretches = Stretches::of(0, log[..4].iter().map(|(at, says)| (*at, *says, false)));
        assert_eq!(stretches.holder(), None);
        assert_eq!(stretches.around(1, 35), "it was its from 30 up to 40");
        assert_eq!(stretches.around(0, 35), "it was its up to 30");
        assert_eq!(stretches.around(1, 15), "it had not been its, and again from 30");
        assert!(stretches.covers(1, 40) && !stretches.covers(1, 41) && !stretches.covers(0, 45));
    }
}
