//! Who starts a crashed actor again: one supervisor per node owns every upstream and breaker actor.
//!
//! | exit of the actor | what happens |
//! |---|---|
//! | asked to stop | forgotten |
//! | error or panic | started again with the same arguments after a back-off, inside the restart budget |
//! | budget used up | logged as an error; the next start waits for [`COOL_DOWN`] |
//!
//! No session is lost: what outlives the actor lies in shared cells, which the next one takes over.

mod actor;
mod budget;
mod handle;

pub use self::budget::COOL_DOWN;
pub use self::handle::SupervisorHandle;
