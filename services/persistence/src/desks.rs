//! What others ask of the directory, how it is changed, and how a replica learns of the changes of others.

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{
    AgentCard, DESKS_PAGE, Desk, DeskEntry, Directory, DirectoryChange, DirectoryUid, Listed,
};
use contract::{ErrorKind, RpcError};
use model::{OrgId, UserId};
use runtime::lifecycle::Stop;
use store::Refusal;
use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::core::Core;
use crate::error::answer;

/// Where a replica says that it has changed the directory.
pub(crate) const SUBJECT: &str = "directory";
/// How often it is looked whether the directory has changed: what the bus loses is seen so.
const LOOK: Duration = Duration::from_millis(500);
/// The most agents that a page has, each of some 2.5 kB at the most.
const AGENTS_PAGE: u32 = 1000;

#[async_trait]
impl Directory for Core {
    async fn identify(&self, org: &OrgId, uid: &UserId) -> Result<Option<DirectoryUid>, RpcError> {
        Ok(self.directory.get().identify(org, uid))
    }

    async fn agents_of(&self, org: &OrgId, identities: Vec<UserId>) -> Result<Vec<AgentCard>, RpcError> {
        Ok(self.directory.get().agents_of(org, &identities))
    }

    async fn list_agents(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<AgentCard>, RpcError> {
        Ok(self
            .directory
            .get()
            .agents(org, page, size.min(AGENTS_PAGE) as usize))
    }

    async fn list_desks(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<DeskEntry>, RpcError> {
        Ok(self
            .directory
            .get()
            .desks(org, page, size.min(DESKS_PAGE) as usize))
    }

    async fn change_directory(&self, org: &OrgId, change: DirectoryChange) -> Result<Option<Desk>, RpcError> {
        change
            .check()
            .map_err(|why| RpcError::new(ErrorKind::InvalidPayload, why))?;
        let (uid, store) = (change.uid().clone(), &self.deps.store);
        let made = store.change_directory(org, change).await.map_err(answer)?;
        made.map_err(|refusal| refused(org, &uid, &refusal))?;
        // It is made, whatever comes now: what cannot be read at this moment is seen at the next look.
        if let Err(error) = self.directory.refresh(&**store).await {
            tracing::warn!(%error, "a change of the directory was made and is not seen yet");
        }
        if let Err(error) = self.deps.bus.publish(SUBJECT, Bytes::new()).await {
            tracing::warn!(%error, "a change of the directory could not be told");
        }
        Ok(self.directory.get().desk(org, &uid))
    }
}

fn refused(org: &OrgId, uid: &UserId, refusal: &Refusal) -> RpcError {
    let kind = match refusal {
        Refusal::UnknownAgents(_) => ErrorKind::InvalidPayload,
        Refusal::Missing(_) => ErrorKind::NotFound,
        Refusal::Named(_) | Refusal::IsDesk | Refusal::IsAgent | Refusal::TooMany { .. } => {
            ErrorKind::Conflict
        }
    };
    RpcError::new(kind, format!("{uid:?} in {org}: {refusal}"))
}

/// Keeps what is known of the directory up to date until told to stop: at once when another replica says that it has
/// changed it, and by looking again and again.
pub(crate) async fn follow(core: &Core, stop: &Stop) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        if told.is_none() {
            // Without it the looks have to do.
            told = core.deps.bus.subscribe(SUBJECT).await.ok();
        }
        let news = async {
            match &mut told {
                Some(told) => told.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        let open = tokio::select! {
            () = stop.soft().cancelled() => return,
            _ = looks.tick() => true,
            open = news => open,
        };
        if !open {
            told = None;
            looks.tick().await;
        }
        if let Err(error) = core.directory.refresh(&*core.deps.store).await {
            tracing::debug!(%error, "the directory could not be read; it will be tried again");
        }
    }
}
