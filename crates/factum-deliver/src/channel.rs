//! Channels: the events of a rule, for the clients of live streams that ask for its channel.
//!
//! Nothing is sent by this: each node reads the log for its own clients and asks the rules which
//! events are meant, so it makes no difference to which node a client is connected.

use std::sync::Arc;

use factum_engine::{
    BreakerState, Deliver, DeliverError, Delivered, Delivery, InvalidTarget, TargetState,
};
use factum_store::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::definition::Kind;
use crate::outside::Outside;
use crate::secret::Secret;

const NAME_BYTES_MAX: usize = 128;

/// The kind `channel`.
pub(crate) struct Channel;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    channel: String,
}

impl Kind for Channel {
    const NAME: &'static str = "channel";
    type Definition = Definition;

    fn secrets(_: &mut Definition) -> Vec<(String, &mut Secret)> {
        Vec::new()
    }

    fn open(definition: &Definition, _: &Outside) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        let name = &definition.channel;
        let is_letter =
            |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'-');
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_letter) {
            let rule = format!("must have 1 to {NAME_BYTES_MAX} letters, digits, '.', '_' or '-'");
            return Err(InvalidTarget::at("/channel", rule).with_value(name));
        }
        Ok(Arc::new(Target))
    }

    fn channel(definition: Definition) -> Option<String> {
        Some(definition.channel)
    }
}

/// A channel as a target: an event is there as soon as it is in the log.
#[derive(Debug)]
struct Target;

impl Deliver for Target {
    fn deliver<'a>(&'a self, _: &'a Delivery) -> BoxFuture<'a, Result<Delivered, DeliverError>> {
        Box::pin(async { Ok(Delivered::default()) })
    }

    fn state(&self) -> TargetState {
        TargetState {
            kind: Channel::NAME,
            breaker: BreakerState::Closed,
            in_flight: 0,
            in_flight_max: 0,
            endpoint: None,
        }
    }
}
