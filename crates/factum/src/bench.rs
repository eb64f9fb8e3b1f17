//! The load generator: many clients on one thread, requests built beforehand, answers read no
//! further than needed, so that most of the machine is left to the server.

mod cases;
mod child;
mod echo;
mod histogram;
mod live;
mod raw;
mod report;
mod suite;

pub(crate) use crate::bench::echo::serve as serve_echo;
pub(crate) use crate::bench::suite::{Plan, Subject, Suite, run};
