//! The kinds of targets, and where targets are made.

use std::fmt;
use std::sync::Arc;

use factum_engine::{Deliver, InvalidTarget, Targets, Vault};
use factum_model::Clock;
use serde_json::{Map, Value};

use crate::definition::{self, Kind};
use crate::endpoint::Endpoints;
use crate::guard::Guard;
use crate::outside::{DeliverLimits, Outside, system_roots};

type Checked<T> = Result<T, InvalidTarget>;

/// What a kind of target can do, by its name.
struct Row {
    name: &'static str,
    accept: fn(Value, Option<Value>, &Outside) -> Checked<Value>,
    show: fn(Value) -> Checked<Value>,
    open: fn(Value, &Outside) -> Checked<Arc<dyn Deliver>>,
    reseal: fn(Value, &Outside) -> Checked<Option<Value>>,
    channel: fn(Value) -> Option<String>,
}

const fn row<K: Kind>() -> Row {
    Row {
        name: K::NAME,
        accept: definition::accept::<K>,
        show: definition::show::<K>,
        open: definition::open::<K>,
        reseal: definition::reseal::<K>,
        channel: definition::channel::<K>,
    }
}

/// Every kind that was built in.
const KINDS: &[Row] = &[
    #[cfg(feature = "webhook")]
    row::<crate::webhook::Webhook>(),
    #[cfg(feature = "nats")]
    row::<crate::nats::Nats>(),
    #[cfg(feature = "rabbitmq")]
    row::<crate::rabbitmq::RabbitMq>(),
    #[cfg(feature = "redis")]
    row::<crate::redis::Redis>(),
    #[cfg(feature = "kafka")]
    row::<crate::kafka::Kafka>(),
    #[cfg(feature = "mail")]
    row::<crate::mail::Mail>(),
    row::<crate::channel::Channel>(),
];

/// Every kind that there is.
const NAMES: &[&str] = &[
    "webhook", "nats", "rabbitmq", "redis", "kafka", "mail", "channel",
];

/// The most bytes that a definition may have.
const DEFINITION_BYTES_MAX: usize = 128 * 1024;

/// Makes targets of every kind that was built in.
#[derive(Clone)]
pub struct BuiltInTargets {
    outside: Outside,
}

impl fmt::Debug for BuiltInTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuiltInTargets").finish_non_exhaustive()
    }
}

impl BuiltInTargets {
    /// Makes the place where targets are made. Reads the authorities that the system trusts.
    #[must_use]
    pub fn new(
        guard: Guard,
        vault: Arc<dyn Vault>,
        clock: Arc<dyn Clock>,
        limits: DeliverLimits,
    ) -> Self {
        Self {
            outside: Outside {
                guard: Arc::new(guard),
                vault,
                clock,
                limits,
                endpoints: Endpoints::default(),
                roots: Arc::new(system_roots()),
            },
        }
    }

    /// Returns the names of the kinds that were built in.
    #[must_use]
    pub fn kinds() -> Vec<&'static str> {
        KINDS.iter().map(|row| row.name).collect()
    }
}

impl Targets for BuiltInTargets {
    fn accept(&self, definition: &str, before: Option<&str>) -> Result<String, InvalidTarget> {
        let (row, fields) = read(definition)?;
        let before = before.map(read).transpose()?;
        // The secrets of one kind mean nothing to another.
        let before = before.filter(|(other, _)| other.name == row.name);
        let before = before.map(|(_, fields)| fields);
        Ok(write(row, (row.accept)(fields, before, &self.outside)?))
    }

    fn show(&self, stored: &str) -> Result<String, InvalidTarget> {
        let (row, fields) = read(stored)?;
        Ok(write(row, (row.show)(fields)?))
    }

    fn open(&self, stored: &str) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        let (row, fields) = read(stored)?;
        (row.open)(fields, &self.outside)
    }

    fn reseal(&self, stored: &str) -> Result<Option<String>, InvalidTarget> {
        let (row, fields) = read(stored)?;
        let resealed = (row.reseal)(fields, &self.outside)?;
        Ok(resealed.map(|fields| write(row, fields)))
    }

    fn channel(&self, stored: &str) -> Option<String> {
        let (row, fields) = read(stored).ok()?;
        (row.channel)(fields)
    }
}

/// Reads a definition into its kind and its other fields.
fn read(definition: &str) -> Result<(&'static Row, Value), InvalidTarget> {
    if definition.len() > DEFINITION_BYTES_MAX {
        let rule = format!(
            "has {} bytes, which exceeds the limit of {DEFINITION_BYTES_MAX}",
            definition.len()
        );
        return Err(InvalidTarget::at("", rule));
    }
    let fields = serde_json::from_str::<Map<String, Value>>(definition);
    let mut fields = fields.map_err(|_| InvalidTarget::at("", "must be a JSON object"))?;
    let name = fields.remove("type");
    let fault = |rule: String| InvalidTarget::at("/type", rule);
    let known = || format!("must be one of {}", NAMES.join(", "));
    let Some(Value::String(name)) = name else {
        return Err(fault(known()));
    };
    match KINDS.iter().find(|row| row.name == name) {
        Some(row) => Ok((row, Value::Object(fields))),
        None if NAMES.contains(&name.as_str()) => {
            Err(fault("is not built into this program".to_owned()).with_value(&name))
        }
        None => Err(fault(known()).with_value(&name)),
    }
}

fn write(row: &Row, mut fields: Value) -> String {
    fields["type"] = row.name.into();
    fields.to_string()
}

#[cfg(test)]
mod tests;
