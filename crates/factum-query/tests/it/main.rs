//! What queries mean, checked against the compliance suite of RFC 9535, against what others
//! counted in real data, and against random documents.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says by panicking what is wrong"
)]

mod conformance;
mod hostile;
mod meaning;
mod narrowing;
mod real_data;
mod shared;
