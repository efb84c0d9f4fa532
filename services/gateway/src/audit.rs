//! Who administered what: one line of the log for each such call, of whatever outcome, with the target `audit`.

use model::Principal;

use crate::reply::Problem;

/// Logs a call. `object` is what it was about, as the caller wrote it: it cannot begin a line of its own.
pub(crate) fn record<T>(who: &Principal, action: &'static str, object: &str, outcome: &Result<T, Problem>) {
    let outcome = outcome.as_ref().map_or_else(|problem| problem.code, |_| "done");
    let object: String = object.chars().take(256).collect();
    let (org, user) = (who.org.as_str(), who.user.as_str());
    tracing::info!(target: "audit", ?org, ?user, action, ?object, outcome);
}
