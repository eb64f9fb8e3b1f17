//! The engine: what happens to events between a door and a store.
//!
//! Everything that a server, a command line or a program does with events goes through
//! [`Engine`]. It knows no HTTP and no SQL.

mod access;
mod check;
mod engine;
mod error;
mod live;

pub use crate::access::{
    AuthenticationError, CreatedKey, Identity, KeyError, KeyInfo, KeyRing, NewKey, Principal,
    Scope, Scopes,
};
pub use crate::engine::{Engine, EngineOptions};
pub use crate::error::EngineError;
pub use crate::live::{HeadSignal, LiveRead, LiveReader, LiveStart, LiveStep};
