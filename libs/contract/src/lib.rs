//! What services ask of one another. One module per service: the trait it implements and the values that go in and come
//! out, with what each promises. A caller holds an `Arc<dyn Trait>` and cannot tell whether the service runs in its
//! process or in another; when it is another, the `rpc` crate stands between.

mod error;
pub mod persistence;
pub mod receipts;
pub mod routing;

pub use error::{ErrorKind, RpcError};
