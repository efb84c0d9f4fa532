use std::sync::Arc;

use contract::routing::Outcome;
use tokio::sync::oneshot;

use crate::mailbox::{Mail, Mailbox};

/// Where an outcome goes.
#[derive(Debug)]
pub enum Ticket {
    /// To a connection, under its own name for the message.
    Mail(Arc<Mailbox>, u64),
    /// To whoever waits.
    Waiter(oneshot::Sender<Outcome>),
    /// Nobody asks.
    Nobody,
}

impl Ticket {
    /// Gives the outcome to its holder; a connection is left to be woken, once for all that concerns it.
    pub(super) fn give(self, outcome: Outcome, touched: &mut Vec<Arc<Mailbox>>) {
        match self {
            Ticket::Mail(mailbox, token) => {
                mailbox.push_quietly(Mail::Settled { token, outcome });
                // A frame's messages of one connection usually stand together.
                if touched.last().is_none_or(|last| !Arc::ptr_eq(last, &mailbox)) {
                    touched.push(mailbox);
                }
            }
            // A waiter that went away does not care any more.
            Ticket::Waiter(waiter) => drop(waiter.send(outcome)),
            Ticket::Nobody => {}
        }
    }
}
