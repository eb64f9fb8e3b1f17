//! The conformance suite over the model store.

use factum_store::MemoryStore;
use factum_store::conformance::{Setting, Subject};

async fn open(setting: Setting) -> Subject {
    let store = MemoryStore::with(setting.clock.clone(), setting.ids.clone());
    Subject::new(&setting, store, ())
}

factum_store::conformance!(memory, open);
