//! Uids that have been used with a token.

use async_trait::async_trait;
use model::{OrgId, UserId};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::job::Mode;
use super::shared::sql;
use crate::{IdentityStore, StoreError};

#[async_trait]
impl IdentityStore for SqliteStore {
    async fn prove(&self, org: &OrgId, uids: Vec<UserId>) -> Result<(), StoreError> {
        let doing = "marking uids as proven";
        let asked = org.clone();
        // The writer is not troubled with what is known: an edge that starts tells of every user again.
        let unknown: Vec<UserId> = self
            .read(move |conn, _| {
                let known = |uid: &UserId| is_proven(conn, &asked, uid).map_err(sql(doing));
                let judged = uids.into_iter().map(|uid| known(&uid).map(|known| (uid, known)));
                let judged = judged.collect::<Result<Vec<_>, _>>()?.into_iter();
                Ok(judged.filter(|(_, known)| !known).map(|(uid, _)| uid).collect())
            })
            .await?;
        if unknown.is_empty() {
            return Ok(());
        }
        let org = org.clone();
        self.write(Mode::Sync, move |ctx| {
            let text = "INSERT OR IGNORE INTO proven (org, uid) VALUES (?1, ?2)";
            let mut insert = ctx.conn.prepare_cached(text).map_err(sql(doing))?;
            let mut enter = |uid: &UserId| insert.execute(params![org.as_str(), uid.as_str()]).map(|_| ());
            unknown.iter().try_for_each(&mut enter).map_err(sql(doing))
        })
        .await
    }

    async fn is_proven(&self, org: &OrgId, uid: &UserId) -> Result<bool, StoreError> {
        let (org, uid) = (org.clone(), uid.clone());
        self.read(move |conn, _| is_proven(conn, &org, &uid).map_err(sql("asking whether a uid is proven")))
            .await
    }
}

fn is_proven(conn: &Connection, org: &OrgId, uid: &UserId) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM proven WHERE org = ?1 AND uid = ?2")?
        .exists(params![org.as_str(), uid.as_str()])
}
