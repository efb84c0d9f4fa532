//! Settings: the types they are made of.

mod duration;
mod listen;
mod secret;
mod size;

pub use duration::HumanDuration;
pub use listen::Listen;
pub use secret::Secret;
pub use size::ByteSize;

/// Why a text is not a value of one of the setting types; says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);
