//! Users, each held once however many records name it.

use ahash::RandomState;
use hashbrown::HashTable;
use model::UserId;

/// A user that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person(u32);

/// Users by number, as long as somebody needs them.
#[derive(Debug, Default)]
pub(crate) struct People {
    rows: Vec<Row>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Bytes of names that are too long to be held in place.
    outside: usize,
}

#[derive(Debug)]
struct Row {
    user: UserId,
    uses: u32,
}

/// What a user costs: its row, its place among the free ones and in the index.
const COST: usize = size_of::<Row>() + 4 + 8;
/// A name up to this length is held in place.
const INLINE: usize = 23;

impl People {
    /// The number of a user, for one more record.
    pub(crate) fn hire(&mut self, user: &UserId) -> Person {
        let hash = self.hasher.hash_one(user.as_str());
        let rows = &mut self.rows;
        if let Some(&at) = self.index.find(hash, |at| rows[*at as usize].user == *user) {
            rows[at as usize].uses += 1;
            return Person(at);
        }
        let row = Row {
            user: user.clone(),
            uses: 1,
        };
        let at = match self.free.pop() {
            Some(at) => {
                rows[at as usize] = row;
                at
            }
            None => {
                rows.push(row);
                u32::try_from(rows.len() - 1)
                    .expect("fewer than 2^32 records name at most twice as many users")
            }
        };
        let hasher = &self.hasher;
        self.index
            .insert_unique(hash, at, |at| hasher.hash_one(rows[*at as usize].user.as_str()));
        self.outside += outside(user);
        Person(at)
    }

    /// A record is gone.
    pub(crate) fn dismiss(&mut self, person: Person) {
        let row = &mut self.rows[person.0 as usize];
        row.uses -= 1;
        if row.uses > 0 {
            return;
        }
        let user = std::mem::take(&mut row.user);
        let hash = self.hasher.hash_one(user.as_str());
        if let Ok(found) = self.index.find_entry(hash, |at| *at == person.0) {
            found.remove();
        }
        self.outside -= outside(&user);
        self.free.push(person.0);
    }

    pub(crate) fn user(&self, person: Person) -> &UserId {
        &self.rows[person.0 as usize].user
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.rows.len() - self.free.len()) * COST + self.outside
    }
}

/// What a name takes besides: its letters and two counters.
fn outside(user: &UserId) -> usize {
    if user.len() > INLINE { user.len() + 16 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_held_once_and_as_long_as_it_is_named() {
        let mut people = People::default();
        let long = UserId::new("a name that is too long to be held in place");
        let (a, b) = (people.hire(&"ann".into()), people.hire(&long));
        assert_eq!(people.hire(&"ann".into()), a);
        assert_eq!((people.user(a).as_str(), people.user(b)), ("ann", &long));
        assert!(people.bytes() > 2 * COST);
        people.dismiss(a);
        assert_eq!(people.user(a).as_str(), "ann");
        people.dismiss(a);
        people.dismiss(b);
        assert_eq!(people.bytes(), 0);
        assert_eq!(people.hire(&long), b, "the place is used again");
    }
}
