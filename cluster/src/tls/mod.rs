//! Who a node is to the others: certificates with a SPIFFE name, mutual TLS 1.3, and the files they come from.
//!
//! A certificate counts when the CA of the cluster signed it and its only URI name is
//! `spiffe://<trust domain>/node/<name>` of the same trust domain as the node's own. Whether that node is a member, and
//! still the same life of it, is checked on every message (`grpc::Guard`), for a connection may outlive a membership.

mod authority;
mod credentials;
mod dev;
mod error;
mod files;
mod identity;
mod request;
mod verifier;

pub(crate) use self::authority::Authority;
pub use self::credentials::Credentials;
pub(crate) use self::credentials::Material;
pub(crate) use self::credentials::pinned_client;
pub use self::dev::{DevCertError, DevCerts};
pub use self::error::TlsError;
pub use self::files::TlsFiles;
pub use self::identity::{Identity, IdentityError};
pub(crate) use self::identity::{is_name, time_left};
pub(crate) use self::request::SigningRequest;
pub(crate) use self::verifier::identity_of;

/// Protocol of the gRPC connections.
pub(crate) const ALPN_GRPC: &[u8] = b"h2";
/// Protocol of the plane.
pub(crate) const ALPN_PLANE: &[u8] = b"lockgate/1";
