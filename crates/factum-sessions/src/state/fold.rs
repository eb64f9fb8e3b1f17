//! The fold: one more event into the state.

use std::collections::BTreeMap;

use factum_model::Timestamp;

use crate::events;
use crate::id::InstanceId;
use crate::state::fields::Fields;
use crate::state::{
    CheckpointSummary, CommandSummary, Commit, Deployment, DeploymentStatus, Epic, EpicStatus,
    InstanceStatus, PullRequest, SessionState, Step, TestRun, TestTotals, ValidationTotals,
};

const PLANNED_MAX: usize = 20;
const OPEN_PRS_MAX: usize = 100;
const SERVICES_MAX: usize = 100;
const TYPES_MAX: usize = 200;
const COMMANDS_MAX: usize = 20;
/// How much of the description of a command is kept.
const COMMAND_CHARS_MAX: usize = 200;

impl SessionState {
    /// Begins a state with the first event of a stream; `None` when that is no registration.
    pub(crate) fn begin(id: &InstanceId, step: &Step<'_>) -> Option<Self> {
        if !step.registers() {
            return None;
        }
        let fields = Fields::of(step.payload);
        let mut state = Self {
            instance_id: id.as_str().to_owned(),
            project: id.project().to_owned(),
            instance_type: id.instance_type(),
            status: InstanceStatus::Active,
            context_percent: 0.0,
            current_epic: None,
            last_epic: None,
            planned_epics: Vec::new(),
            tests: TestTotals::default(),
            validations: ValidationTotals::default(),
            last_commit: None,
            branch: None,
            open_prs: Vec::new(),
            merged_prs: 0,
            deployments: BTreeMap::new(),
            last_checkpoint: None,
            last_commands: Vec::new(),
            command_count: 0,
            event_counts: BTreeMap::new(),
            event_count: 0,
            last_event_type: String::new(),
            last_event_at: step.at,
            last_activity_at: step.at,
            last_heartbeat: step.at,
            created_at: step.at,
            closed_at: None,
            last_resumed_at: None,
            host: fields.text("host"),
            external_session_id: fields.text("external_session_id"),
            sequence_num: 0,
            registered_position: step.position,
            heartbeat_event: step.id,
            last_event: step.id,
            position: None,
        };
        state.count(step);
        Some(state)
    }

    /// Returns when anybody last had to do with the instance: the agent itself, whoever took over
    /// or closed it. What the server records by itself, such as a deleted checkpoint, does not count.
    pub(crate) fn last_use(&self) -> Timestamp {
        let others = self.last_resumed_at.max(self.closed_at);
        others.map_or(self.last_activity_at, |other| {
            other.max(self.last_activity_at)
        })
    }

    /// Takes the next event of the stream. One that is not the next changes nothing, which is
    /// told.
    pub(crate) fn apply(&mut self, step: &Step<'_>) -> bool {
        if step.sequence_num != self.sequence_num + 1 {
            return false;
        }
        self.count(step);
        match step.event_type {
            events::HEARTBEAT => self.heartbeat(step),
            events::CONTEXT_WINDOW_UPDATED => self.context(&Fields::of(step.payload)),
            events::STALE if self.status == InstanceStatus::Active => {
                self.status = InstanceStatus::Stale;
            }
            events::CLOSED => {
                self.status = InstanceStatus::Closed;
                self.closed_at = Some(step.at);
            }
            events::RESUMED | events::CHECKPOINT_LOADED => self.last_resumed_at = Some(step.at),
            "epic_planned" | "epic_started" | events::EPIC_COMPLETED | "epic_failed" => {
                self.epic(step.event_type, &Fields::of(step.payload));
            }
            "test_started" | "test_passed" | "test_failed" => {
                self.test(step.event_type, &Fields::of(step.payload));
            }
            "validation_passed" => self.validations.passed += 1,
            "validation_failed" => {
                self.validations.failed += 1;
                self.validations.recommendation = Fields::of(step.payload).text("recommendation");
            }
            "commit_created" => self.commit(&Fields::of(step.payload)),
            "pr_created" => self.pull_request(&Fields::of(step.payload)),
            "pr_merged" => self.merge(&Fields::of(step.payload)),
            "deployment_started" | "deployment_completed" | "deployment_failed" => {
                self.deployment(step);
            }
            events::CHECKPOINT_CREATED => self.checkpoint(step),
            events::CHECKPOINT_DELETED => self.forget_checkpoint(&Fields::of(step.payload)),
            events::COMMAND_LOGGED => self.command(step),
            // Whatever else stands in a stream is counted.
            _ => {}
        }
        true
    }

    fn count(&mut self, step: &Step<'_>) {
        self.sequence_num = step.sequence_num;
        self.event_count += 1;
        step.event_type.clone_into(&mut self.last_event_type);
        self.last_event_at = step.at;
        self.last_event = step.id;
        self.position = step.position;
        if !events::is_of_the_server(step.event_type) {
            self.last_activity_at = step.at;
        }
        let is_known = self.event_counts.contains_key(step.event_type);
        let name = if is_known || self.event_counts.len() < TYPES_MAX {
            step.event_type
        } else {
            "other"
        };
        *self.event_counts.entry(name.to_owned()).or_default() += 1;
    }

    fn heartbeat(&mut self, step: &Step<'_>) {
        let fields = Fields::of(step.payload);
        self.context(&fields);
        if let Some(epic) = fields.text("current_epic") {
            self.current_epic = Some(epic);
        }
        self.last_heartbeat = step.at;
        self.heartbeat_event = step.id;
        if self.status == InstanceStatus::Stale {
            self.status = InstanceStatus::Active;
        }
    }

    fn context(&mut self, fields: &Fields<'_>) {
        if let Some(percent) = fields.number("context_percent") {
            self.context_percent = percent.clamp(0.0, 100.0);
        }
    }

    fn epic(&mut self, event_type: &str, fields: &Fields<'_>) {
        let Some(epic_id) = fields.text("epic_id") else {
            return;
        };
        let planned = self.planned_epics.iter();
        let known = planned
            .chain(&self.last_epic)
            .find(|epic| epic.epic_id == epic_id);
        let feature_name = fields
            .text("feature_name")
            .or_else(|| known.and_then(|epic| epic.feature_name.clone()));
        let status = match event_type {
            "epic_planned" => EpicStatus::Planned,
            "epic_started" => EpicStatus::InProgress,
            events::EPIC_COMPLETED => EpicStatus::Completed,
            _ => EpicStatus::Failed,
        };
        self.planned_epics.retain(|epic| epic.epic_id != epic_id);
        let epic = Epic {
            epic_id,
            feature_name,
            status,
            failure_reason: fields.text("failure_reason"),
        };
        match status {
            EpicStatus::Planned => {
                self.planned_epics.push(epic);
                keep_newest(&mut self.planned_epics, PLANNED_MAX);
                return;
            }
            EpicStatus::InProgress => self.current_epic = Some(epic.epic_id.clone()),
            EpicStatus::Completed | EpicStatus::Failed => {
                self.current_epic
                    .take_if(|current| *current == epic.epic_id);
            }
        }
        self.last_epic = Some(epic);
    }

    fn test(&mut self, event_type: &str, fields: &Fields<'_>) {
        let count = |name: &str| fields.count(name).unwrap_or(0);
        let mut run = TestRun {
            test_type: fields.text("test_type").unwrap_or_default(),
            passed: None,
            passed_count: 0,
            failed_count: 0,
            error_summary: None,
        };
        if event_type != "test_started" {
            let passed = event_type == "test_passed";
            run.passed = Some(passed);
            run.passed_count = count("passed_count");
            run.failed_count = count("failed_count");
            run.error_summary = fields.text("error_summary");
            let tests = &mut self.tests;
            tests.runs_passed += u64::from(passed);
            tests.runs_failed += u64::from(!passed);
            tests.passed_count = tests.passed_count.saturating_add(run.passed_count);
            tests.failed_count = tests.failed_count.saturating_add(run.failed_count);
            tests.skipped_count = tests.skipped_count.saturating_add(count("skipped_count"));
        }
        self.tests.last = Some(run);
    }

    fn commit(&mut self, fields: &Fields<'_>) {
        let branch = fields.text("branch");
        if branch.is_some() {
            self.branch.clone_from(&branch);
        }
        self.last_commit = Some(Commit {
            commit_hash: fields.text("commit_hash").unwrap_or_default(),
            message: fields.text("message").unwrap_or_default(),
            branch: branch.or_else(|| self.branch.clone()),
        });
    }

    fn pull_request(&mut self, fields: &Fields<'_>) {
        let branch = fields.text("branch");
        if branch.is_some() {
            self.branch.clone_from(&branch);
        }
        let pull_request = PullRequest {
            pr_number: fields.count("pr_number").unwrap_or(0),
            pr_url: fields.text("pr_url").unwrap_or_default(),
            title: fields.text("title"),
            branch,
        };
        self.open_prs
            .retain(|open| open.pr_number != pull_request.pr_number);
        self.open_prs.push(pull_request);
        keep_newest(&mut self.open_prs, OPEN_PRS_MAX);
    }

    fn merge(&mut self, fields: &Fields<'_>) {
        self.merged_prs += 1;
        let number = fields.count("pr_number");
        self.open_prs.retain(|open| Some(open.pr_number) != number);
    }

    fn deployment(&mut self, step: &Step<'_>) {
        let fields = Fields::of(step.payload);
        let Some(service) = fields.text("service") else {
            return;
        };
        let (status, detail) = match step.event_type {
            "deployment_started" => (DeploymentStatus::Started, "deployment_type"),
            "deployment_completed" => (DeploymentStatus::Completed, "health_status"),
            _ => (DeploymentStatus::Failed, "error_message"),
        };
        let before = self.deployments.get(&service);
        let version = fields
            .text("version")
            .or_else(|| before.and_then(|before| before.version.clone()));
        let deployment = Deployment {
            environment: fields.text("environment").unwrap_or_default(),
            status,
            version,
            detail: fields.text(detail),
            sequence_num: step.sequence_num,
        };
        self.deployments.insert(service, deployment);
        if self.deployments.len() > SERVICES_MAX {
            let oldest = self.deployments.iter();
            let oldest = oldest
                .min_by_key(|(_, deployment)| deployment.sequence_num)
                .map(|(service, _)| service.clone());
            self.deployments
                .retain(|service, _| Some(service) != oldest.as_ref());
        }
    }

    fn checkpoint(&mut self, step: &Step<'_>) {
        self.last_checkpoint = Some(CheckpointSummary::read(step));
    }

    fn forget_checkpoint(&mut self, fields: &Fields<'_>) {
        let deleted = fields.text("checkpoint_id");
        self.last_checkpoint
            .take_if(|last| Some(&last.checkpoint_id) == deleted.as_ref());
    }

    fn command(&mut self, step: &Step<'_>) {
        let fields = Fields::of(step.payload);
        self.command_count += 1;
        self.last_commands.push(CommandSummary {
            action: fields.text("action").unwrap_or_default(),
            description: fields
                .text_within("description", COMMAND_CHARS_MAX)
                .unwrap_or_default(),
            tool_name: fields.text("tool_name"),
            success: fields.flag("success"),
            at: step.at,
        });
        keep_newest(&mut self.last_commands, COMMANDS_MAX);
    }
}

impl CheckpointSummary {
    /// Reads what the event of a checkpoint says.
    pub(crate) fn read(step: &Step<'_>) -> Self {
        let fields = Fields::of(step.payload);
        Self {
            checkpoint_id: fields.text("checkpoint_id").unwrap_or_default(),
            checkpoint_type: fields.text("checkpoint_type"),
            context_percent: fields.number("context_percent").unwrap_or(0.0),
            reason: fields.text("reason").unwrap_or_default(),
            created_at: step.at,
            sequence_num: step.sequence_num,
            size_bytes: fields.count("size_bytes").unwrap_or(0),
        }
    }
}

fn keep_newest<T>(list: &mut Vec<T>, n_max: usize) {
    let surplus = list.len().saturating_sub(n_max);
    list.drain(..surplus);
}
