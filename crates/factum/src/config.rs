//! Configuration: file, then environment, then flags, all from one table of keys.
//!
//! The table in `keys` is the only place that knows a key; the flags of `serve`, the checks, the
//! reference page and `config check` are made from it.

mod file;
mod flags;
mod keys;
mod load;
mod nearest;
mod reference;
mod value;

pub(crate) use crate::config::flags::ConfigFlags;
pub(crate) use crate::config::keys::{Config, KEYS, Key};
pub(crate) use crate::config::load::{ConfigError, Loaded, Source, data_dir, load};
pub(crate) use crate::config::reference::{default_file, reference_page};
pub(crate) use crate::config::value::{LogFormat, PostgresUrl, without_password};
