//! The catalogue: event types that ship with the engine, each with a JSON Schema.
//!
//! The types are data, one file each in `catalogue/` at the root of the repository, built into
//! the program. They say what is usual; only in strict mode is an event of another type refused.
//! What is stored already is never looked at again: the catalogue stands at the door.

mod entry;
mod schema;
mod shipped;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use self::entry::{CatalogueEntry, CatalogueGroup};
pub use self::schema::{FieldFault, FieldRule};

/// Event types by name.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// In the order of the list.
    entries: Vec<CatalogueEntry>,
    by_type: HashMap<String, usize>,
}

impl Catalogue {
    /// Returns the catalogue that is built into the program.
    #[must_use]
    pub fn shipped() -> &'static Self {
        static SHIPPED: LazyLock<Catalogue> = LazyLock::new(|| {
            // A file that cannot be read is not offered; a test rules it out.
            let entries = shipped::FILES
                .iter()
                .filter_map(|(group, text)| CatalogueEntry::read(*group, text).ok());
            Catalogue::of(entries.collect())
        });
        &SHIPPED
    }

    fn of(entries: Vec<CatalogueEntry>) -> Self {
        let named = entries.iter().enumerate();
        let by_type = named
            .map(|(index, entry)| (entry.event_type().to_owned(), index))
            .collect();
        Self { entries, by_type }
    }

    /// Returns the entry of an event type.
    #[must_use]
    pub fn entry(&self, event_type: &str) -> Option<&CatalogueEntry> {
        self.entries.get(*self.by_type.get(event_type)?)
    }

    /// Returns all entries: those of agent sessions first, then the records of sessions, then
    /// those of the platform.
    pub fn entries(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests;
