//! What services ask of one another. One module per service: the trait it implements and the types of its answers.
//! A caller holds an `Arc<dyn Trait>` and cannot tell whether the service runs in its process or in another; [`grpc`] is what
//! stands between when it is another.

mod error;
pub mod grpc;
pub mod persistence;
pub mod receipts;
pub mod routing;

pub use error::{ErrorKind, RpcError};
