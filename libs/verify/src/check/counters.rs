//! I5: what the counter says is what counting says.

use super::{Findings, Index};
use crate::key::Key;
use crate::record::{Record, Sent, Unread};
use crate::verdict::{Evidence, Invariant::I5};

pub(super) fn check(index: &Index<'_>, found: &mut Findings) {
    for unread in &index.record.unread {
        let Some((least, most)) = recount(index, unread) else {
            continue;
        };
        if (least..=most).contains(&unread.after) {
            continue;
        }
        let expected = if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        let what = format!(
            "{} has {} unread messages by the counter, and {expected} by recount",
            unread.name, unread.after
        );
        let evidence = Evidence {
            topic: Some(index.record.topics[unread.topic].name.clone()),
            observer: Some(unread.name.clone()),
            ..Evidence::default()
        };
        found.missing(I5, what, evidence);
    }
}

/// The least and the most that it may be: a READ that was not acknowledged may or may not count.
fn recount(index: &Index<'_>, unread: &Unread) -> Option<(u64, u64)> {
    let topic = &index.record.topics[unread.topic];
    let messages = &topic.histories.first()?.messages;
    let by_others = |m: &&crate::record::Stored| m.countable && m.author != Some(unread.user);
    let others = messages.iter().filter(by_others).count() as u64;
    let stored = |of: &Key| index.places[unread.topic].contains_key(of);
    let (mut sure, mut perhaps) = (0, 0);
    for (sent, _) in reads_by(index.record, unread.user).filter(|(_, of)| stored(of)) {
        match (&sent.acked, &sent.refused) {
            (Some(_), _) => sure += 1,
            (None, None) => perhaps += 1,
            (None, Some(_)) => {}
        }
    }
    let most = unread.before + others.saturating_sub(sure);
    Some((most.saturating_sub(perhaps), most))
}

/// The READs of a user. A user reads a message once.
fn reads_by(record: &Record, user: usize) -> impl Iterator<Item = &(Sent, Key)> {
    let writers = record.writers.iter().filter(move |w| w.user == user);
    writers.flat_map(|w| &w.reads)
}
