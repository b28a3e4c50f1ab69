//! Every way a call can fail, and the one table from error to wire.

mod call;
mod upstream;

pub use self::call::{CallError, Object, Wire};
pub(crate) use self::call::{own_code, reason};
pub use self::upstream::UpstreamError;
