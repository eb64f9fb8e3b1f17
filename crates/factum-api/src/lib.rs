//! The wire format: requests read with exact errors, events written byte for byte, and problem
//! documents.
//!
//! ```
//! use factum_api::{InputLimits, parse_append};
//!
//! let body = r#"{"type":"a.b","aggregateType":"a","aggregateID":"1","payload":{}}"#;
//! let error = parse_append(&body.into(), &InputLimits::default()).unwrap_err();
//! assert_eq!(error.to_string(), r#"unknown field "aggregateID" of an event, did you mean "aggregateId"?"#);
//! ```

mod catalogue;
mod count_body;
mod envelope;
mod few_schema;
mod fields;
mod filter;
mod filter_text;
mod input;
mod key;
mod log_query;
mod nearest;
mod problem;
mod query_body;
mod query_json;
mod query_schema;
mod render;
mod rule_body;
mod rule_schema;
mod schedule_body;
mod schedule_schema;
mod schema;
mod subscription_body;
mod subscription_schema;

pub use crate::catalogue::{CatalogueEntryDto, CatalogueListDto};
pub use crate::count_body::{
    CausalTreeDto, ConversationDto, CountByDto, CountQuery, CountQueryDto, CountsDto,
    ExplanationDto, GROUPS_DEFAULT, GroupDto, TreeEventDto, parse_count_query,
};
pub use crate::envelope::{AppendInput, ConditionInput, InputLimits, parse_append, parse_line};
pub use crate::few_schema::*;
pub use crate::filter::parse_filter;
pub use crate::filter_text::{filter_json, query_json};
pub use crate::input::{InputError, InputFault, Place};
pub use crate::key::{NewKeyInput, parse_backup, parse_new_key, parse_revoke_query};
pub use crate::log_query::{
    LIMIT_DEFAULT, LIMIT_MAX, LogQuery, ReadDirection, StreamQuery, parse_log_query,
    parse_parked_query, parse_query_body, parse_stream_query, parse_tree_query,
};
pub use crate::problem::{Problem, RELATIVE_TYPE, problem_type, status_of, title_of};
pub use crate::query_body::{EventQuery, parse_event_query};
pub use crate::query_schema::*;
pub use crate::render::{Layout, write_cloud_event, write_event, write_string};
pub use crate::rule_body::{
    RuleTestInput, parse_dead_letter_act, parse_plain_query, parse_rule_test,
};
pub use crate::rule_schema::*;
pub use crate::schedule_body::{ScheduleInput, WhenInput, parse_schedule};
pub use crate::schedule_schema::*;
pub use crate::schema::*;
pub use crate::subscription_body::{
    FetchInput, NackInput, SettingsInput, StartInput, SubscriptionInput, TOKENS_MAX, parse_ack,
    parse_extend, parse_fetch, parse_nack, parse_new_subscription, parse_parked_choice,
    parse_release, parse_reset, parse_subscription,
};
pub use crate::subscription_schema::*;
