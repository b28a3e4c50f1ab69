//! Linearizability of registers: what clients saw, and whether one order of all calls explains it.
//!
//! `history` is what the clients recorded, `register` what one register may answer, `check` looks for the order.

mod check;
mod history;
mod register;

pub(crate) use self::check::{Verdict, check};
pub(crate) use self::history::{Event, History};
pub(crate) use self::register::{Answer, Input};
