//! What services ask of one another. One module per service: the trait it implements and the types of its answers.
//! A caller holds an `Arc<dyn Trait>` and cannot tell whether the service runs in its process or in another.

mod error;
pub mod persistence;
pub mod receipts;

pub use error::{ErrorKind, RpcError};
