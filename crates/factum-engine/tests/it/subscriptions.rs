//! Durable subscriptions over the stores in memory, on a clock that only moves when all wait.

mod faults;
mod harness;
mod named;
mod order;
mod outcomes;
