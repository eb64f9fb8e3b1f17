//! Keys over the store in memory: made, followed, ended.

#![expect(
    clippy::unwrap_used,
    reason = "what a test has to say, it says by panicking"
)]

mod life;
