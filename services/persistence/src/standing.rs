//! Who may say that a uid is theirs.

use contract::RpcError;
use contract::persistence::Standing;
use model::{OrgId, UserId};

use crate::core::Core;
use crate::error::answer;

/// The organisation of the development seed, and its users: they log in by name, whatever the directory says.
const SEED_ORG: &str = "df_org_uid";
const SEED_USERS: [&str; 3] = ["agent1", "agent2", "admin"];

/// Whether a uid is one of the users of the seed, who log in by name whatever the directory says.
fn is_seeded(org: &OrgId, uid: &UserId) -> bool {
    org.as_str() == SEED_ORG && SEED_USERS.contains(&uid.as_str())
}

impl Core {
    pub(crate) async fn standing_of(&self, org: &OrgId, uid: &UserId) -> Result<Standing, RpcError> {
        if is_seeded(org, uid) || self.directory.get().identify(org, uid).is_some() {
            return Ok(Standing::Directory);
        }
        match self.deps.store.is_proven(org, uid).await.map_err(answer)? {
            true => Ok(Standing::Proven),
            false => Ok(Standing::Free),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_of_the_seed_are_no_visitors_of_its_organisation() {
        let is = |org: &str, uid: &str| is_seeded(&OrgId::new(org), &UserId::new(uid));
        assert!(is(SEED_ORG, "agent1") && is(SEED_ORG, "admin"));
        assert!(!is("other", "agent1") && !is(SEED_ORG, "v1") && !is(SEED_ORG, ""));
    }
}
