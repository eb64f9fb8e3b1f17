//! Registration: a new instance gets an id that no other has.

use factum_model::{ErrorCode, ExpectedVersion, InstanceName};
use factum_store::StreamExpectation;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::events;
use crate::id::{InstanceId, InstanceType};
use crate::input::text_object;
use crate::sessions::{Sessions, fill_random, stream_of};
use crate::state::InstanceStatus;

/// An instance to register.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterInstance {
    /// The project: 1 to 64 letters, digits, `.`, `_` and `-`.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub project: String,
    /// What it does.
    pub instance_type: InstanceType,
    /// What it begins with. `host` and `external_session_id` are shown with the instance.
    #[schema(value_type = Option<Object>)]
    pub initial_context: Option<Box<RawValue>>,
}

/// A registered instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RegisteredInstance {
    /// Its id.
    pub instance_id: String,
    /// That it is active.
    pub status: InstanceStatus,
    /// When it was registered.
    pub created_at: String,
}

impl Sessions {
    /// Registers an instance. Its id is unique also among instances that are registered at the
    /// same time by other nodes; a call that fails leaves nothing behind.
    ///
    /// # Errors
    /// [`SessionError::InvalidEvent`], [`SessionError::TooManyInstances`],
    /// [`SessionError::EventStore`].
    pub async fn register_instance(
        &self,
        input: RegisterInstance,
    ) -> Result<RegisteredInstance, SessionError> {
        if !InstanceName::is_project(&input.project) {
            let rule = "must be 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first";
            return Err(SessionError::invalid("project", rule));
        }
        if self.clean(&input.project) != input.project {
            return Err(SessionError::invalid("project", "must not be a secret"));
        }
        self.ready().await?;
        self.check_room()?;
        let payload = self.registration(&input)?;
        for _ in 0..self.inner.options.attempts_max {
            let mut random = [0; 4];
            fill_random(&mut random);
            let bits = u32::from_be_bytes(random);
            let id = InstanceId::new(&input.project, input.instance_type, bits);
            let event = self.event(&id, events::REGISTERED, payload.clone())?;
            let expected = vec![StreamExpectation {
                stream: stream_of(&id)?,
                version: ExpectedVersion::NoStream,
            }];
            match self.append(&id, vec![event], expected, None).await {
                Ok(receipts) => {
                    let at = receipts.first().map(|receipt| receipt.recorded_at);
                    return Ok(RegisteredInstance {
                        instance_id: id.to_string(),
                        status: InstanceStatus::Active,
                        created_at: at.unwrap_or_else(|| self.now()).to_string(),
                    });
                }
                // One of 16 million was drawn twice.
                Err(error) if error.code() == ErrorCode::VersionConflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(SessionError::Contended)
    }

    fn check_room(&self) -> Result<(), SessionError> {
        let limit = self.inner.options.instances_max;
        let mut registry = self.registry_mut();
        if registry.len() < limit {
            return Ok(());
        }
        let actual = registry.n_active();
        if actual >= limit {
            return Err(SessionError::TooManyInstances { limit, actual });
        }
        registry.make_room(limit);
        Ok(())
    }

    fn registration(
        &self,
        input: &RegisterInstance,
    ) -> Result<factum_model::JsonObject, SessionError> {
        let mut payload = Map::new();
        let kind = input.instance_type.as_str();
        payload.insert("instance_type".to_owned(), kind.into());
        payload.insert("project".to_owned(), input.project.clone().into());
        let created_at = self.now().to_string();
        payload.insert("created_at".to_owned(), created_at.into());
        let Some(context) = &input.initial_context else {
            return text_object(Value::from(payload).to_string());
        };
        let context = self.read_object("initial_context", context)?;
        for (key, value) in factum_model::members(context.as_str()) {
            if matches!(&*key, "host" | "external_session_id") {
                let text: String = serde_json::from_str(value)
                    .map_err(|_| SessionError::invalid(&*key, "must be a string"))?;
                let text = self.clean_text(&key, &text)?;
                payload.insert(key.into_owned(), text.into());
            }
        }
        let mut text = Value::from(payload).to_string();
        text.pop();
        text.push_str(",\"initial_context\":");
        text.push_str(context.as_str());
        text.push('}');
        text_object(text)
    }
}
