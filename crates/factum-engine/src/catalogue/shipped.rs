//! The files of the catalogue. A test compares the list with the directory.

use crate::catalogue::entry::CatalogueGroup;

macro_rules! files {
    ($($group:ident $directory:literal: [$($name:literal)*];)*) => {
        /// Every file, with its group.
        pub(super) const FILES: &[(CatalogueGroup, &str)] = &[$($((
            CatalogueGroup::$group,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/../../catalogue/", $directory, "/", $name, ".json"
            )),
        ),)*)*];

        /// The directory and the name of every file.
        #[cfg(test)]
        pub(super) const NAMES: &[(&str, &str)] = &[$($(($directory, $name),)*)*];
    };
}

files! {
    AgentSession "agent_session": [
        "instance_registered"
        "instance_heartbeat"
        "instance_stale"
        "epic_started"
        "epic_completed"
        "epic_failed"
        "test_started"
        "test_passed"
        "test_failed"
        "validation_passed"
        "validation_failed"
        "commit_created"
        "pr_created"
        "pr_merged"
        "deployment_started"
        "deployment_completed"
        "deployment_failed"
        "context_window_updated"
        "checkpoint_created"
        "checkpoint_loaded"
        "epic_planned"
        "feature_requested"
        "task_spawned"
    ];
    SessionRecord "session_record": [
        "instance_closed"
        "instance_resumed"
        "command_logged"
        "checkpoint_deleted"
    ];
    Platform "platform": [
        "form.created"
        "form.updated"
        "form.deleted"
        "form.version.created"
        "form.field_type.registered"
        "submission.created"
        "submission.updated"
        "submission.deleted"
        "submission.status.changed"
        "submission.validation.failed"
        "plugin.registered"
        "plugin.enabled"
        "plugin.disabled"
        "plugin.executed"
        "plugin.failed"
        "ai.request.started"
        "ai.request.completed"
        "ai.request.failed"
        "ai.form.generated"
        "ai.workflow.optimized"
    ];
}
