//! What the tools are made with.

use std::time::Duration;

/// What [`crate::Mcp`] is made with. Every bound is a configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McpOptions {
    /// How many bytes of JSON an answer has, about, where the caller asks for no other number.
    pub answer_bytes: usize,
    /// The most that a caller may ask for.
    pub answer_bytes_max: usize,
    /// The longest time that a tool waits for events, where the caller asks it to.
    pub wait_time_max: Duration,
    /// How long an append may take.
    pub append_time_max: Duration,
}

impl Default for McpOptions {
    fn default() -> Self {
        Self {
            answer_bytes: 32 << 10,
            answer_bytes_max: 1 << 20,
            wait_time_max: Duration::from_secs(20),
            append_time_max: Duration::from_secs(30),
        }
    }
}
