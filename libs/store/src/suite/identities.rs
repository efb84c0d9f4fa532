//! Which uids have been used with a token.

use model::UserId;

use super::*;

/// What a token has proved stays proved, in its own tenant, whoever opens the store.
pub async fn a_uid_that_was_proven_stays_so(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (v1, v2) = (UserId::new("v1"), UserId::new("v2"));
    assert!(!store.is_proven(&org(), &v1).await.unwrap());
    store.prove(&org(), vec![v1.clone(), v1.clone()]).await.unwrap();
    store
        .prove(&org(), vec![v1.clone(), UserId::new("v3")])
        .await
        .unwrap();
    store.prove(&org(), Vec::new()).await.unwrap();
    drop(store);
    let store = fixture.open().await;
    for (uid, proven) in [(&v1, true), (&UserId::new("v3"), true), (&v2, false)] {
        assert_eq!(store.is_proven(&org(), uid).await.unwrap(), proven, "{uid}");
    }
    assert!(!store.is_proven(&OrgId::new("other"), &v1).await.unwrap());
}
