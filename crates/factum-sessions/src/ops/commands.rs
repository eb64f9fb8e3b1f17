//! The log of the commands that an instance ran.

use factum_query::{Filter, JsonQuery};
use factum_store::Direction;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::events;
use crate::input::{self, text_object};
use crate::ops::query::times;
use crate::pages::Asked;
use crate::report::Report;
use crate::sessions::{Sessions, stream_of};
use crate::view::raw;

/// The most commands in one answer.
const PAGE_MAX: usize = 1000;
/// The most tags of a command.
const TAGS_MAX: usize = 64;

/// A command to log.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogCommand {
    /// The instance.
    pub instance_id: String,
    /// What was done, as a name: `run_tests`, `edit`, `Bash`.
    pub action: String,
    /// More about it.
    pub details: CommandDetails,
}

/// What is known of a command. Long texts in `description`, `parameters`, `result` and
/// `context_data` are cut in the middle.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandDetails {
    /// What was done, in words, or the command line.
    pub description: String,
    /// With what. `tool_name` in it can be searched for.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Box<RawValue>>,
    /// What came of it. `success` in it can be searched for.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Box<RawValue>>,
    /// Words to find it by, at most 64.
    pub tags: Option<Vec<String>>,
    /// What else was there.
    #[schema(value_type = Option<Object>)]
    pub context_data: Option<Box<RawValue>>,
}

/// A logged command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LoggedCommand {
    /// The id of its event.
    pub logged_id: String,
    /// When it was recorded.
    pub timestamp: String,
    /// Its place among the events of the instance.
    pub sequence_num: u64,
}

/// A question about the commands of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchCommands {
    /// The instance.
    pub instance_id: String,
    /// Those with this action.
    pub action: Option<String>,
    /// Those with this tool.
    pub tool_name: Option<String>,
    /// Those from this time on, RFC 3339.
    pub from: Option<String>,
    /// Those up to this time, RFC 3339, inclusive.
    pub to: Option<String>,
    /// Those that succeeded, or those that failed.
    pub success: Option<bool>,
    /// How many, at most 1,000; 100 by default.
    pub limit: Option<u32>,
    /// How many to pass over.
    pub offset: Option<u32>,
    /// A page ends after the command with which its texts reach this many bytes; for doors that
    /// have a budget.
    #[serde(skip)]
    #[schema(ignore)]
    pub bytes_max: Option<usize>,
}

/// A command as it was logged.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CommandView {
    /// The id of its event.
    pub logged_id: String,
    /// When it was recorded.
    pub timestamp: String,
    /// Its place among the events of the instance.
    pub sequence_num: u64,
    /// What it says: `action`, `description`, and what else was given.
    #[schema(value_type = Object)]
    pub command: Box<RawValue>,
}

/// Commands of an instance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CommandList {
    /// The commands, the newest first.
    pub commands: Vec<CommandView>,
    /// How many match, whether or not they are in this page.
    pub total_count: u64,
    /// There are more after this page.
    pub has_more: bool,
}

impl Sessions {
    /// Logs a command. Secrets are taken out of every text first, then long texts are cut.
    ///
    /// # Errors
    /// [`SessionError::MalformedInstanceId`], [`SessionError::InstanceNotFound`],
    /// [`SessionError::InstanceClosed`], [`SessionError::InvalidEvent`],
    /// [`SessionError::EventStore`].
    pub async fn log_command(&self, input: LogCommand) -> Result<LoggedCommand, SessionError> {
        let id = Self::instance_id(&input.instance_id)?;
        let payload = self.command(&input)?;
        let report = Report::of(events::COMMAND_LOGGED, payload);
        let done = self.report(&id, report).await?;
        Ok(LoggedCommand {
            logged_id: done.receipt.id.to_string(),
            timestamp: done.receipt.recorded_at.to_string(),
            sequence_num: done.receipt.sequence_number.get(),
        })
    }

    fn command(&self, input: &LogCommand) -> Result<factum_model::JsonObject, SessionError> {
        let details = &input.details;
        if input.action.is_empty() {
            return Err(SessionError::invalid("action", "must not be empty"));
        }
        let mut payload = Map::new();
        let action = self.clean_text("action", &input.action)?;
        payload.insert("action".to_owned(), action.into());
        let description = self.cut(self.clean(&details.description));
        payload.insert("description".to_owned(), description.into());
        if let Some(tags) = &details.tags {
            if tags.len() > TAGS_MAX {
                let rule = format!("must be at most {TAGS_MAX} tags");
                return Err(SessionError::invalid("details.tags", rule));
            }
            let tags = tags.iter().map(|tag| self.clean_text("details.tags", tag));
            let tags: Vec<String> = tags.collect::<Result<_, _>>()?;
            payload.insert("tags".to_owned(), tags.into());
        }
        let mut tool_name: Option<Value> = None;
        let mut success: Option<Value> = None;
        for (field, given) in [
            ("parameters", &details.parameters),
            ("result", &details.result),
            ("context_data", &details.context_data),
        ] {
            let Some(given) = given else { continue };
            let value = self.part(field, given)?;
            let member = |name: &str| value.get(name).cloned();
            tool_name = tool_name.or_else(|| member("tool_name").filter(Value::is_string));
            success = success.or_else(|| member("success").filter(Value::is_boolean));
            payload.insert(field.to_owned(), value);
        }
        payload.extend(tool_name.map(|name| ("tool_name".to_owned(), name)));
        payload.extend(success.map(|success| ("success".to_owned(), success)));
        text_object(Value::from(payload).to_string())
    }

    /// Reads a part of a command, whatever JSON it is.
    fn part(&self, field: &str, given: &RawValue) -> Result<Value, SessionError> {
        let name = format!("details.{field}");
        // A value of any kind is checked as the only member of an object.
        let wrapped = format!("{{\"value\":{}}}", given.get());
        let wrapped = RawValue::from_string(wrapped)
            .map_err(|_| SessionError::invalid(&*name, "is no JSON"))?;
        let clean = self.read_object(&name, &wrapped)?;
        let mut value: Value = serde_json::from_str(clean.as_str())
            .map_err(|_| SessionError::invalid(&*name, "is no JSON"))?;
        let mut value = value["value"].take();
        self.cut_texts(&mut value);
        Ok(value)
    }

    fn cut_texts(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.cut(std::mem::take(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.cut_texts(item)),
            Value::Object(members) => members
                .values_mut()
                .for_each(|member| self.cut_texts(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Cuts the middle out of a text that is too long: what a command printed matters most at its
    /// beginning and at its end.
    fn cut(&self, text: String) -> String {
        let bytes_max = self.inner.options.command_text_bytes_max;
        if text.len() <= bytes_max {
            return text;
        }
        let head_end = text.floor_char_boundary(bytes_max / 2);
        let tail_start = text.ceil_char_boundary(text.len() - bytes_max / 2);
        let (head, tail) = (&text.get(..head_end), &text.get(tail_start..));
        let left_out = tail_start - head_end;
        let (head, tail) = (head.unwrap_or_default(), tail.unwrap_or_default());
        format!("{head}\n[{left_out} bytes left out]\n{tail}")
    }

    /// Returns the commands of an instance that match, the newest first.
    ///
    /// # Errors
    /// [`SessionError::MalformedInstanceId`], [`SessionError::InstanceNotFound`],
    /// [`SessionError::InvalidEvent`], [`SessionError::EventStore`].
    pub async fn search_commands(
        &self,
        input: SearchCommands,
    ) -> Result<CommandList, SessionError> {
        let id = Self::instance_id(&input.instance_id)?;
        let limit = input::limit(input.limit, 100, PAGE_MAX)?;
        self.look(&id, |_, _| ()).await?;
        let unusable =
            |error: factum_query::InvalidFilter| SessionError::invalid("action", error.to_string());
        let texts = [
            ("$.action", &input.action),
            ("$.tool_name", &input.tool_name),
        ];
        let mut conditions: Vec<JsonQuery> = Vec::new();
        for (path, wanted) in texts {
            if let Some(wanted) = wanted {
                conditions.push(JsonQuery::equals(path, wanted.as_str()).map_err(unusable)?);
            }
        }
        if let Some(success) = input.success {
            conditions.push(JsonQuery::equals("$.success", success).map_err(unusable)?);
        }
        let filter = Filter {
            streams: vec![stream_of(&id)?],
            event_types: events::COMMAND_LOGGED.parse().into_iter().collect(),
            recorded_at: times(("from", input.from.as_deref()), ("to", input.to.as_deref()))?,
            payload: (!conditions.is_empty()).then_some(JsonQuery::And(conditions)),
            ..Filter::default()
        };
        let asked = Asked {
            filter,
            direction: Direction::Backwards,
            offset: input.offset,
            limit,
            bytes_max: input.bytes_max,
        };
        let page = self.page(asked).await?;
        let command = |event: &factum_model::RecordedEvent| CommandView {
            logged_id: event.id.to_string(),
            timestamp: event.recorded_at.to_string(),
            sequence_num: event.sequence_number.get(),
            command: raw(event.payload()),
        };
        Ok(CommandList {
            commands: page.events.iter().map(command).collect(),
            total_count: page.total_count,
            has_more: page.has_more,
        })
    }
}
