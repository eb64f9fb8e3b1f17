//! What `serve` is wired from: the store, the log lines and the run file.

mod logging;
mod store;

pub(crate) use crate::serving::logging::start as start_logging;
pub(crate) use crate::serving::store::{
    open as open_store, open_read_only as open_store_read_only,
};
