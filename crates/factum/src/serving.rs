//! What `serve` is wired from: the store, the options of its parts, and the log lines.

mod logging;
mod options;
mod postgres;
mod rules;
mod services;
mod store;

pub(crate) use crate::serving::logging::start as start_logging;
pub(crate) use crate::serving::options::{
    engine as engine_options, mcp as mcp_options, server as server_options,
    sessions as session_options,
};
pub(crate) use crate::serving::postgres::{
    diagnose as diagnose_postgres, explained as explained_postgres, open as open_postgres,
    open_state as open_postgres_state, with_password,
};
pub(crate) use crate::serving::rules::{key_file, open_rules};
pub(crate) use crate::serving::services::{open as open_services, run as run_services};
pub(crate) use crate::serving::store::{
    explained as explained_directory, open as open_store, open_read_only as open_store_read_only,
    open_state,
};
