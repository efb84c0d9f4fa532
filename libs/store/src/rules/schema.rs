//! Which versions of the schema a store can be used with.

use crate::StoreError;

/// The versions of a store's schema.
pub(crate) struct Versions {
    /// Up to here what is stored means something else, and is not migrated.
    pub former: i64,
    /// How many scripts there are: the first makes the version after `former`. 0 is a store without a schema.
    pub scripts: usize,
}

impl Versions {
    /// The version that this release makes and needs.
    pub fn wanted(&self) -> i64 {
        self.former + self.scripts as i64
    }

    /// Refuses a schema that no script of ours can bring up.
    pub fn migratable(&self, found: i64) -> Result<(), StoreError> {
        let known = self.wanted();
        match found {
            _ if (1..=self.former).contains(&found) => Err(StoreError::Former { found }),
            _ if found > known => Err(StoreError::Unknown { found, known }),
            _ => Ok(()),
        }
    }

    /// Refuses a schema that is not ours.
    pub fn usable(&self, found: i64) -> Result<(), StoreError> {
        self.migratable(found)?;
        let wanted = self.wanted();
        match found < wanted {
            true => Err(StoreError::Outdated { found, wanted }),
            false => Ok(()),
        }
    }

    /// Which scripts bring a schema up: the number of each and the version that it makes.
    pub fn missing(&self, found: i64) -> impl Iterator<Item = (usize, i64)> {
        let all = (0..self.scripts).zip(self.former + 1..);
        all.filter(move |(_, version)| *version > found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_brought_up_used_or_refused() {
        let versions = Versions {
            former: 2,
            scripts: 2,
        };
        let missing = |found| versions.missing(found).collect::<Vec<_>>();
        assert_eq!(missing(0), [(0, 3), (1, 4)]);
        assert_eq!(missing(3), [(1, 4)]);
        assert_eq!(missing(4), []);
        for (found, migratable, usable) in [
            (0, true, false),
            (1, false, false),
            (2, false, false),
            (3, true, false),
            (4, true, true),
            (5, false, false),
        ] {
            assert_eq!(versions.migratable(found).is_ok(), migratable, "{found}");
            assert_eq!(versions.usable(found).is_ok(), usable, "{found}");
        }
    }
}
