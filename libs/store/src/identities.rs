use async_trait::async_trait;
use model::{OrgId, UserId};

use crate::StoreError;

/// Which uids have been used with a token that proves them.
#[async_trait]
pub trait IdentityStore: Send + Sync + 'static {
    /// These have. Durable on return; nothing is written of those of whom it is known.
    async fn prove(&self, org: &OrgId, uids: Vec<UserId>) -> Result<(), StoreError>;

    /// Whether one has.
    async fn is_proven(&self, org: &OrgId, uid: &UserId) -> Result<bool, StoreError>;
}
