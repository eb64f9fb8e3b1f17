//! For tests: seeded chance, a disk that fails and forgets, and the comparison of two stores.
//!
//! Everything here follows from a seed, so that a failure can be seen again: each panic names it.
//!
//! ```
//! use factum_testkit::Random;
//!
//! let (mut one, mut other) = (Random::seeded(7), Random::seeded(7));
//! assert_eq!(one.below(1000), other.below(1000));
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test has to say, it says by panicking"
)]

#[cfg(feature = "agents")]
pub mod agents;
pub mod differential;
mod disk;
pub mod linearizability;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod queries;
mod random;
#[cfg(feature = "servers")]
pub mod servers;
pub mod state;

pub use crate::disk::{Fault, SimDisk};
pub use crate::random::Random;
