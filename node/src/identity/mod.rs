//! Who calls. [`Identity`] turns the credential of a request into a [`Caller`](crate::call::Caller) and its
//! [`Access`](crate::policy::Access), both made beforehand. [`Sealer`] makes ids and cursors that only this cluster
//! can have made.

mod authenticate;
mod credential;
mod key;
pub mod seal;
mod standing;

pub use self::authenticate::{Authenticated, Identity, IdentityError};
pub use self::key::{KeyHasher, generate_key};
pub use self::seal::Sealer;
pub use self::standing::{Identities, Standing, WITHDRAWN};
