//! Rules and what they send, over the stores in memory, on a clock that only moves when all wait.

mod dead_letters;
mod definitions;
mod delivering;
mod harness;
mod sealed;
mod unreadable;
