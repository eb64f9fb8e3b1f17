//! The model store keeps every promise.

mod memory;
