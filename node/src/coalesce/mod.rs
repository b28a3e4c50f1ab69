//! Write coalescing: small writes of the data plane leave together, when the worker thread that made them has nothing
//! else to run.
//!
//! A worker that has asked the kernel for events runs several tasks, most of which end with a small write: the request
//! to a server, the answer to a client. Written one by one, each finds its peer asleep again and pays for an interrupt
//! to wake it; written in a row, the first wakes the peer and the others find it awake. So the first small write since
//! the worker parked leaves at once, which gives the peer something to do meanwhile, and others wait: their [`Socket`]
//! enlists itself with its thread, and the thread writes what its sockets hold before it parks ([`before_park`]).
//! Nothing is polled again for it.
//!
//! What waits, and for how long:
//! - writes of up to 2 KiB, at most 4 KiB a socket; a larger one, and what does not fit, leaves at once behind what
//!   waits;
//! - at most 32 sockets a thread, which is also how many sends the first one can come to wait for;
//! - until the worker has no other task to run, or until the next write on that thread once 300 µs are over: a worker
//!   that is never idle does not park, and one that computes for long keeps what it holds;
//! - nothing on threads without the hook, nor for a task that has moved to another thread than its bytes.
//!
//! What the kernel refuses for want of room is written by a task of its own as soon as there is room, and until then
//! the socket takes nothing more. Bytes that wait have not left, which [`Socket::written`] says and [`Socket::abandon`]
//! makes final.

mod outgoing;
mod queue;
mod socket;
#[cfg(test)]
mod tests;

pub use self::queue::before_park;
pub use self::socket::Socket;
