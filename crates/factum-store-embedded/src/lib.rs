//! The embedded store: one directory, one log, one writer, group commit, sealed indexes.

mod disk;

pub use crate::disk::{Disk, DiskFile, LockError, LockGuard, OsDisk};
