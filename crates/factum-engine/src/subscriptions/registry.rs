//! What the log says of subscriptions: folded, and nothing else.

use std::collections::BTreeMap;

use factum_model::{EventId, ExpectedVersion, Position, RecordedEvent, SequenceNumber};

use super::definition::{FilterForm, SubscriptionInfo};
use super::events::{self, Act, Read};

/// All subscriptions, as of one position of the log.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: BTreeMap<String, Entry>,
    /// Everything up to here is folded.
    folded_to: Option<Position>,
}

/// One subscription, or what is left of one: only the version of its stream.
#[derive(Debug)]
struct Entry {
    version: SequenceNumber,
    known: Option<Known>,
}

/// What is known of a subscription that is there.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) info: SubscriptionInfo,
    /// Whose id stands for it.
    pub(super) created: EventId,
    /// Which event began the present pass over the log.
    pub(super) generation: Position,
}

impl Registry {
    pub(super) const fn folded_to(&self) -> Option<Position> {
        self.folded_to
    }

    pub(super) fn get(&self, name: &str) -> Option<&Known> {
        self.entries.get(name)?.known.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.entries
            .values()
            .filter_map(|entry| entry.known.as_ref())
    }

    /// Returns what the stream of a subscription must be like for nothing to have changed.
    pub(super) fn version(&self, name: &str) -> ExpectedVersion {
        self.entries
            .get(name)
            .map_or(ExpectedVersion::NoStream, |entry| {
                ExpectedVersion::Exact(entry.version)
            })
    }

    /// Takes in a page of events, which ends at `through`. What was taken in before is passed
    /// over. Returns whether anything is different now.
    pub(super) fn fold(
        &mut self,
        events: &[RecordedEvent],
        through: Option<Position>,
        form: FilterForm,
    ) -> bool {
        let mut is_different = false;
        for event in events {
            if Some(event.position) <= self.folded_to {
                continue;
            }
            self.folded_to = Some(event.position);
            match events::read(event, form) {
                Ok(Some((name, act))) => {
                    self.apply(name, act, event);
                    is_different = true;
                }
                Ok(None) => {}
                Err(error) => {
                    let position = event.position;
                    tracing::error!(%position, %error, "an event of a subscription cannot be read; it is passed over");
                }
            }
        }
        self.folded_to = self.folded_to.max(through);
        is_different
    }

    fn apply(&mut self, name: String, act: Act, event: &RecordedEvent) {
        let version = event.sequence_number;
        let entry = self.entries.entry(name.clone()).or_insert(Entry {
            version,
            known: None,
        });
        entry.version = version;
        let at = event.recorded_at;
        match act {
            Act::Created { definition, after } => {
                let Read { definition, fault } = *definition;
                entry.known = Some(Known {
                    info: SubscriptionInfo {
                        name,
                        definition,
                        is_paused: false,
                        after,
                        created_at: at,
                        changed_at: at,
                        fault,
                    },
                    created: event.id,
                    generation: event.position,
                });
            }
            Act::Deleted => entry.known = None,
            Act::Changed(_) | Act::Paused | Act::Resumed | Act::Reset { .. } => {
                if let Some(known) = &mut entry.known {
                    known.info.changed_at = at;
                    known.change(act, event.position);
                }
            }
        }
    }
}

impl Known {
    fn change(&mut self, act: Act, position: Position) {
        match act {
            Act::Changed(read) => {
                self.info.definition = read.definition;
                self.info.fault = read.fault;
            }
            Act::Paused => self.info.is_paused = true,
            Act::Resumed => self.info.is_paused = false,
            Act::Reset { after } => {
                self.info.after = after;
                self.generation = position;
            }
            Act::Created { .. } | Act::Deleted => {}
        }
    }
}
