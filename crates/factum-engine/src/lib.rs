//! The engine: what happens to events between a door and a store.

mod live;

pub use crate::live::{HeadSignal, LiveRead, LiveReader, LiveStart, LiveStep};
