//! Whether a log is the one that a store was filled from, and still has what was taken from it.

use model::{FrameSeq, PartitionId, Position};

use crate::{LogIdentity, Service, StoreError};

/// Whether a store may be used with a log: a store that was never used with any is bound to this one, which is then
/// `stored`.
pub(crate) fn bind(stored: LogIdentity, opened: LogIdentity) -> Result<(), StoreError> {
    match stored == opened {
        true => Ok(()),
        false => Err(StoreError::OtherLog { stored, opened }),
    }
}

/// Whether a log reaches as far as a service has applied it: where it does not, new frames would get positions that the
/// store takes for applied. `heads` are asked for after `applied`, as both grow; a partition that they lack is empty.
///
/// # Errors
/// [`StoreError::BeyondLog`] for the first partition that was applied further than it goes.
pub fn within_log(
    service: Service,
    applied: &[(PartitionId, Position)],
    heads: &[(PartitionId, FrameSeq)],
) -> Result<(), StoreError> {
    for (partition, applied) in applied {
        let head = heads.iter().find(|(of, _)| of == partition);
        let head = head.map_or(FrameSeq::default(), |(_, head)| *head);
        if applied.seq() > head {
            return Err(StoreError::BeyondLog {
                service,
                partition: *partition,
                applied: applied.seq().0,
                head: head.0,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_at_least_what_was_applied_of_it() {
        let end = |seq| Position::end_of(FrameSeq(seq));
        let (p, q) = (PartitionId(0), PartitionId(1));
        let heads = [(p, FrameSeq(7)), (q, FrameSeq(0))];
        for (applied, beyond) in [
            (vec![], None),
            (vec![(p, end(7)), (q, Position::START)], None),
            (vec![(p, Position::new(FrameSeq(7), 3))], None),
            (vec![(p, end(3)), (q, end(1))], Some((q, 1, 0))),
            (vec![(p, Position::new(FrameSeq(8), 0))], Some((p, 8, 7))),
            (vec![(PartitionId(2), end(1))], Some((PartitionId(2), 1, 0))),
        ] {
            let found = match within_log(Service::Persistence, &applied, &heads) {
                Err(StoreError::BeyondLog {
                    partition,
                    applied,
                    head,
                    ..
                }) => Some((partition, applied, head)),
                other => other.map(|()| None).unwrap(),
            };
            assert_eq!(found, beyond, "{applied:?}");
        }
    }

    #[test]
    fn who_meets_another_log_is_told_what_to_do() {
        let log = |epoch, partitions| LogIdentity { epoch, partitions };
        assert!(bind(log(1, 8), log(1, 8)).is_ok());
        for other in [log(0xab, 8), log(1, 4)] {
            let error = bind(log(1, 8), other).unwrap_err();
            assert!(!error.is_temporary());
            let text = error.to_string();
            let names = format!("log 1 of 8 partitions, and {other} was opened");
            assert!(text.contains(&names) && text.contains("restore"), "{text}");
        }
    }
}
