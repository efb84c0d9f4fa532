//! Uids that have been used with a token.

use async_trait::async_trait;
use model::{OrgId, UserId};

use super::PostgresStore;
use crate::{IdentityStore, StoreError};

#[async_trait]
impl IdentityStore for PostgresStore {
    async fn prove(&self, org: &OrgId, mut uids: Vec<UserId>) -> Result<(), StoreError> {
        let doing = "marking uids as proven";
        // In one order for everybody, so that nobody waits in a circle.
        uids.sort();
        uids.dedup();
        let uids: Vec<&str> = uids.iter().map(UserId::as_str).collect();
        let put = "INSERT INTO proven (org, uid) SELECT $1, u.uid FROM unnest($2::text[]) u (uid)
                   WHERE NOT EXISTS (SELECT FROM proven p WHERE p.org = $1 AND p.uid = u.uid)
                   ON CONFLICT DO NOTHING";
        let put = sqlx::query(put).bind(org.as_str()).bind(uids);
        let mut conn = self.shared.conn(doing).await?;
        conn.run(doing, put).await.map(|_| ())
    }

    async fn is_proven(&self, org: &OrgId, uid: &UserId) -> Result<bool, StoreError> {
        let doing = "asking whether a uid is proven";
        let ask = sqlx::query("SELECT 1 FROM proven WHERE org = $1 AND uid = $2")
            .bind(org.as_str())
            .bind(uid.as_str());
        let row = self.shared.conn(doing).await?.row(doing, ask).await?;
        Ok(row.is_some())
    }
}
