//! Copies a log from one store to another, and tells by digest whether two logs are the same.
//!
//! It knows stores by their promises only, [`factum_store::EventStore`] and
//! [`factum_store::ImportTarget`]; which ones there are, its callers know.
//!
//! ```
//! use factum_archive::LogDigest;
//!
//! let empty = LogDigest::new();
//! assert_eq!(empty.clone().finish(), LogDigest::new().finish());
//! ```

mod compare;
mod copy;
mod digest;
mod progress;

pub use crate::compare::Comparison;
pub use crate::copy::{CopyError, CopyOptions, copy};
pub use crate::digest::{Digest, LogDigest};
pub use crate::progress::{Progress, Stage};
