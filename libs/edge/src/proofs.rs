//! Who may be the user it says it is: a uid that has been used with a token is of no use without one.
//!
//! A token is proof by itself, and asks nobody. That its uid is proven from then on is told to persistence beside the
//! connection, once for each uid that this edge meets, several at a time. Who shows no proof is asked about each time,
//! and turned away when nobody can say.

use std::collections::HashSet;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use contract::ErrorKind;
use contract::persistence::{Persistence, Standing};
use model::{OrgId, Origin, Principal, UserId};
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::Refusal;
use crate::mailbox::{Mail, Mailbox};

/// Uids remembered per half of the memory, and how many may wait to be told of.
const REMEMBERED: usize = 50_000;
/// Uids that are told of at a time.
const BATCH: usize = 500;
/// How soon what could not be told is told again.
const RETRY: Duration = Duration::from_secs(1);

/// The proofs that an edge has seen.
pub struct Proofs {
    persistence: Arc<dyn Persistence>,
    seen: Arc<Mutex<Seen>>,
    interval: Duration,
}

type Whose = (OrgId, UserId);

/// Two halves: when the younger is full, it becomes the older, and the older is forgotten.
#[derive(Default)]
struct Seen {
    young: HashSet<Whose, ahash::RandomState>,
    old: HashSet<Whose, ahash::RandomState>,
    untold: Vec<Whose>,
    telling: bool,
}

impl Seen {
    /// Notes uids of a tenant; whether somebody has to begin to tell of them.
    fn note(&mut self, who: &Principal) -> bool {
        // Of the staff it is also noted that it is staff: a desk may be known by nothing else.
        let marks = who
            .identities()
            .filter(|_| who.is_staff())
            .map(|uid| Principal::staff_mark(uid));
        for uid in who.identities().cloned().chain(marks) {
            let whose = (who.org.clone(), uid);
            let known = self.young.contains(&whose) || self.old.contains(&whose);
            // What does not fit is noted when it is shown again.
            if known || self.untold.len() >= REMEMBERED {
                continue;
            }
            if self.young.len() >= REMEMBERED {
                self.old = take(&mut self.young);
            }
            self.young.insert(whose.clone());
            self.untold.push(whose);
        }
        !self.untold.is_empty() && !std::mem::replace(&mut self.telling, true)
    }

    /// What is to be told next, of one tenant; nothing more: telling ends.
    fn next(&mut self) -> Option<(OrgId, Vec<UserId>)> {
        let Some((org, _)) = self.untold.last().cloned() else {
            self.telling = false;
            return None;
        };
        let mut uids = Vec::new();
        self.untold.retain(|(of, uid)| {
            let taken = *of == org && uids.len() < BATCH;
            if taken {
                uids.push(uid.clone());
            }
            !taken
        });
        Some((org, uids))
    }
}

impl Proofs {
    /// `interval`: how often a connection of one who proves nothing is looked at.
    pub(crate) fn new(persistence: Arc<dyn Persistence>, interval: Duration) -> Self {
        Self {
            persistence,
            interval,
            seen: Arc::default(),
        }
    }

    /// Lets a principal in, or says why not. A proven one is never kept waiting.
    ///
    /// # Errors
    /// `unauthorized` for a uid that is proven and said to be one's own without proof, `forbidden` for one of the directory,
    /// `unavailable` when it cannot be found out whose it is.
    pub async fn admit(&self, who: &Principal) -> Result<(), Refusal> {
        match who.origin {
            Origin::Token => {
                self.note(who);
                Ok(())
            }
            Origin::AnonymousVisitor if !who.user.is_empty() => {
                claim(&*self.persistence, &who.org, &who.user).await
            }
            Origin::AnonymousVisitor | Origin::AnonymousMqtt | Origin::Service => Ok(()),
        }
    }

    /// Looks again and again whether one who merely says who it is may go on, for as long as what is returned lives: the
    /// uid may be proven by somebody else meanwhile. Its mailbox is told when it may not. `None`: there is no need.
    pub fn watch(&self, who: &Arc<Principal>, mailbox: &Arc<Mailbox>) -> Option<AbortOnDropHandle<()>> {
        if who.origin != Origin::AnonymousVisitor {
            return None;
        }
        let (persistence, interval) = (self.persistence.clone(), self.interval);
        let (who, mailbox) = (who.clone(), mailbox.clone());
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                match claim(&*persistence, &who.org, &who.user).await {
                    Err(refusal) if refusal.kind != ErrorKind::Unavailable => {
                        return mailbox.push(Mail::Refused(refusal));
                    }
                    _ => {}
                }
            }
        })))
    }

    fn note(&self, who: &Principal) {
        if !self.seen.lock().note(who) {
            return;
        }
        let (persistence, seen) = (self.persistence.clone(), self.seen.clone());
        tokio::spawn(async move {
            loop {
                let next = seen.lock().next();
                let Some((org, uids)) = next else { return };
                while let Err(error) = persistence.prove(&org, uids.clone()).await {
                    debug!(%error, uids = uids.len(), "that uids are proven is stored later");
                    tokio::time::sleep(RETRY).await;
                }
            }
        });
    }
}

/// Whether somebody who shows no proof may use a uid.
async fn claim(persistence: &dyn Persistence, org: &OrgId, uid: &UserId) -> Result<(), Refusal> {
    let standing = persistence.standing(org, uid).await.map_err(|error| {
        debug!(%error, "whose a uid is cannot be asked");
        let detail =
            "whether this uid needs a token is not known: the store is away; come again later, or with the uid's token";
        Refusal::new(ErrorKind::Unavailable, detail)
    })?;
    match standing {
        Standing::Free => Ok(()),
        Standing::Proven => Err(Refusal::new(
            ErrorKind::Unauthorized,
            format!(
                "uid {uid} has been used with a token, and is of no use without; send its token, or ask for a new uid"
            ),
        )),
        Standing::Directory => Err(Refusal::forbidden(format!(
            "uid {uid} is no visitor's; send its user's token, or ask for a new uid"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use model::Role;

    use super::*;

    fn who(org: &str, user: &str) -> Principal {
        Principal {
            aliases: vec![UserId::new(format!("{user}-alias"))],
            ..Principal::new(OrgId::new(org), UserId::new(user), Role::Agent, Origin::Token)
        }
    }

    #[test]
    fn a_uid_is_told_of_once_with_its_aliases_and_by_one_teller() {
        let mut seen = Seen::default();
        assert!(seen.note(&who("o", "u")), "somebody has to tell");
        assert!(!seen.note(&who("p", "u")), "somebody does already");
        assert!(!seen.note(&who("o", "u")));
        let mut told = Vec::new();
        while let Some((org, uids)) = seen.next() {
            told.extend(uids.into_iter().map(|uid| format!("{org}/{uid}")));
        }
        told.sort();
        assert_eq!(
            told,
            [
                "o/staff/u",
                "o/staff/u-alias",
                "o/u",
                "o/u-alias",
                "p/staff/u",
                "p/staff/u-alias",
                "p/u",
                "p/u-alias"
            ]
        );
        assert!(!seen.note(&who("o", "u")), "it is known");
        assert!(seen.note(&who("o", "v")), "telling had ended");
    }

    #[test]
    fn the_memory_of_proofs_is_bounded() {
        let mut seen = Seen::default();
        for n in 0..3 * REMEMBERED {
            seen.note(&who("o", &n.to_string()));
            while seen.next().is_some() {}
        }
        assert!(seen.young.len() + seen.old.len() <= 2 * REMEMBERED);
        for n in 0..REMEMBERED {
            seen.note(&who("o", &n.to_string()));
        }
        assert!(seen.untold.len() <= REMEMBERED, "{}", seen.untold.len());
    }
}
