//! Opens the embedded store as the configuration says.

use std::path::Path;

use factum_model::ErrorCode;
use factum_store_embedded::{
    EmbeddedStateStore, EmbeddedStore, OpenError, Options, StateOpenError, StateOptions,
};

use crate::config::Config;
use crate::exit::Failure;

/// Opens the store, and makes one where there is none.
pub(crate) fn open(config: &Config) -> anyhow::Result<EmbeddedStore> {
    EmbeddedStore::open(options(config)).map_err(|error| explained(&config.data, error))
}

/// Opens the bookkeeping beside the log, and makes it where there is none.
pub(crate) fn open_state(config: &Config) -> anyhow::Result<EmbeddedStateStore> {
    let options = StateOptions {
        queue_changes_max: config.state_queue_changes_max.0,
        queue_bytes_max: config.state_queue_bytes_max.in_memory(),
        group_changes_max: config.state_group_changes_max.0,
        file_bytes_max: config.state_file_bytes_max.0,
        readers_max: config.state_readers_max.0,
        ..StateOptions::at(&config.data)
    };
    EmbeddedStateStore::open(options).map_err(|error| state_explained(&config.data, error))
}

/// Says what can be done about bookkeeping that does not open.
fn state_explained(data: &Path, error: StateOpenError) -> anyhow::Error {
    let is_damaged = error.code() == ErrorCode::Corrupt;
    let shown = data.display();
    let message = format!("{shown}: {:#}", anyhow::Error::new(error));
    if is_damaged {
        let hint = format!(
            "the log does not depend on it: restore a backup, or move {shown}/state.db away; subscriptions then start again where they were made to"
        );
        return Failure::Damaged { message, hint }.into();
    }
    let hint = String::new();
    Failure::Incomplete { message, hint }.into()
}

/// Opens the store of a directory to look at it only. Nothing is written, not even a lock.
pub(crate) fn open_read_only(data: &Path) -> anyhow::Result<EmbeddedStore> {
    let options = Options {
        read_only: true,
        ..Options::at(data)
    };
    EmbeddedStore::open(options).map_err(|error| explained(data, error))
}

fn options(config: &Config) -> Options {
    Options {
        segment_bytes_max: config.store_segment_bytes_max.0,
        segment_events_max: u32::try_from(config.store_segment_events_max.0).unwrap_or(u32::MAX),
        group_events_max: config.commit_group_events_max.0,
        group_bytes_max: config.commit_group_bytes_max.in_memory(),
        group_delay: config.commit_delay_us_max.0,
        request_bytes_max: config
            .limits_request_bytes_max
            .in_memory()
            .saturating_mul(2),
        request_events_max: config.limits_request_events_max.0,
        queue_events_max: config.commit_queue_events_max.0,
        queue_bytes_max: config.commit_queue_bytes_max.in_memory(),
        recent_bytes_max: config.store_recent_bytes_max.in_memory(),
        versions_max: config.store_versions_max.0,
        reserve_bytes: config.store_reserve_bytes.0,
        index_documents: config.store_index_documents,
        index_left_out: config.store_index_left_out.0.clone(),
        cold_after_segments: config
            .store_cold
            .then_some(config.store_cold_after_segments.0),
        cold_bytes_per_second: config.store_cold_bytes_per_s_max.0,
        document_run_events: u32::try_from(config.store_index_run_events.0).unwrap_or(u32::MAX),
        ..Options::at(&config.data)
    }
}

/// Says what can be done about a store that does not open.
pub(crate) fn explained(data: &Path, error: OpenError) -> anyhow::Error {
    let code = error.code();
    let half_imported = matches!(error, OpenError::HalfImported);
    let data = data.display().to_string();
    let message = format!("{data}: {:#}", anyhow::Error::new(error));
    if code == ErrorCode::Corrupt {
        let hint = format!(
            "`factum verify --data {data}` tells what is damaged, `factum repair` what can be done"
        );
        return Failure::Damaged { message, hint }.into();
    }
    if code == ErrorCode::NotFound {
        let hint = "name the directory with --data".to_owned();
        return Failure::NotFound { message, hint }.into();
    }
    let hint = match code {
        ErrorCode::Locked if half_imported => {
            "run the same `factum migrate` again: it goes on where it ended".to_owned()
        }
        ErrorCode::ReadOnly => "serve the log where it is now; to take it back, remove the file MOVED, and never write both".to_owned(),
        ErrorCode::Locked => "stop that process, or name another directory with --data".to_owned(),
        _ => String::new(),
    };
    Failure::Incomplete { message, hint }.into()
}
