//! How many threads may begin: of one visitor, and in one organisation.

use ahash::AHashMap;
use contract::{ErrorKind, RpcError};
use model::{OrgId, UnixMillis, UserId};
use parking_lot::Mutex;

/// Visitors that are counted at a time. Who finds no room is counted with its organisation alone.
const COUNTED: usize = 100_000;
const MINUTE: u64 = 60_000;

/// New threads of this minute, counted in this process.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    number: u64,
    visitors: AHashMap<(OrgId, UserId), u32>,
    orgs: AHashMap<OrgId, u32>,
}

impl Quotas {
    /// Counts a new thread.
    ///
    /// # Errors
    /// `RateLimited` when there are too many this minute; then it is not counted.
    pub fn take(
        &self,
        org: &OrgId,
        visitor: &UserId,
        (per_visitor, per_org): (u32, u32),
        now: UnixMillis,
    ) -> Result<(), RpcError> {
        let mut minute = self.0.lock();
        let number = now.0 / MINUTE;
        if minute.number != number {
            *minute = Minute {
                number,
                ..Minute::default()
            };
        }
        let of_org = minute.orgs.get(org).copied().unwrap_or(0);
        let key = (org.clone(), visitor.clone());
        let of_visitor = minute.visitors.get(&key).copied().unwrap_or(0);
        let (what, limit) = match (of_visitor >= per_visitor, of_org >= per_org) {
            (true, _) => ("visitor", per_visitor),
            (_, true) => ("organisation", per_org),
            _ => {
                minute.orgs.insert(org.clone(), of_org + 1);
                if minute.visitors.len() < COUNTED {
                    minute.visitors.insert(key, of_visitor + 1);
                }
                return Ok(());
            }
        };
        let left = (MINUTE - now.0 % MINUTE).div_ceil(1000);
        Err(RpcError::new(
            ErrorKind::RateLimited,
            format!(
                "this {what} has begun {limit} conversations this minute, which is the limit; try again in {left} s"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_room_for_so_many_of_a_visitor_and_of_an_organisation() {
        let quotas = Quotas::default();
        let take = |org: &str, visitor: &str, at| {
            let taken = quotas.take(&org.into(), &visitor.into(), (2, 3), UnixMillis(at));
            taken.map_err(|error| error.kind)
        };
        assert_eq!([take("o", "v", 1), take("o", "v", 2)], [Ok(()), Ok(())]);
        assert_eq!(take("o", "v", 3), Err(ErrorKind::RateLimited), "of the visitor");
        assert_eq!(take("o", "w", 3), Ok(()));
        assert_eq!(
            take("o", "x", 3),
            Err(ErrorKind::RateLimited),
            "of the organisation"
        );
        assert_eq!(take("p", "v", 3), Ok(()), "another organisation");
        assert_eq!(take("o", "v", MINUTE), Ok(()), "the next minute");
    }
}
