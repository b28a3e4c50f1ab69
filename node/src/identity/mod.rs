//! Who calls. [`Identity`] turns the credential of a request into a [`Caller`](crate::call::Caller) and its
//! [`Access`](crate::policy::Access), both made beforehand.

mod authenticate;
mod credential;
mod key;
mod shown;
mod standing;

pub use self::authenticate::{Authenticated, Identity, IdentityError};
pub use self::key::{KeyHasher, generate_key};
pub use self::shown::Shown;
pub use self::standing::{Identities, Standing, WITHDRAWN};
