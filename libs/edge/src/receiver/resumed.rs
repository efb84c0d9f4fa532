//! A stored session goes on, perhaps as somebody else than the one who held it.

use model::{Principal, TopicFilter};
use session::{Holder, SavedState};

use super::state::Receiver;
use crate::{Core, Refusal};

/// The stored session as `who` may go on with it. What another holder may see and `who` may not is set aside for it, for
/// `life` seconds; what was set aside for `who` comes back. Subscriptions are judged by
/// [`Receiver::check_subscriptions`].
///
/// # Errors
/// When it cannot be found out what `who` may receive.
pub async fn resumed(
    core: &Core,
    who: &Principal,
    client: &str,
    state: SavedState,
    life: u32,
) -> Result<SavedState, Refusal> {
    let mut state = state.resumed_by(Holder::of(who), core.now(), u64::from(life) * 1000);
    // They read what they look for, whoever asks: of another holder's those that may be read remain.
    let mut refused = Vec::new();
    for catch_up in &state.catch_ups {
        if !core.gate.may_subscribe(who, client, &catch_up.filter).await? {
            refused.push(catch_up.filter.clone());
        }
    }
    state.end_catch_ups(&refused);
    Ok(state)
}

impl Receiver {
    /// Ends a subscription for good: whoever the session is kept for does not find it again. Whether there was one.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) -> bool {
        if let Some(aside) = &mut self.aside {
            aside.unsubscribe(filter);
        }
        self.session.unsubscribe(filter)
    }
}
