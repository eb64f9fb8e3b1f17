//! Moves a log from one store to another: which stores there are, how a source that is in use is
//! followed and taken, and what is told meanwhile.

mod place;
mod run;
mod source;
mod watcher;

pub(crate) use crate::migration::place::{Place, Plan};
pub(crate) use crate::migration::run::{Moved, Switch, already_moved, migrate};
pub(crate) use crate::migration::watcher::Watcher;
