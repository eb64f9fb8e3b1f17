//! The conformance suites over the model stores.

use factum_store::conformance::state::StateSubject;
use factum_store::conformance::{Setting, Subject};
use factum_store::{MemoryStateStore, MemoryStore, StateLimits};

async fn open(setting: Setting) -> Subject {
    let store = MemoryStore::with(setting.clock.clone(), setting.ids.clone());
    Subject::new(&setting, store, ())
}

factum_store::conformance!(memory, open);

async fn open_state(setting: Setting) -> StateSubject {
    let store = MemoryStateStore::with(setting.clock.clone(), StateLimits::default());
    StateSubject::new(&setting, store, ())
}

factum_store::state_conformance!(memory_state, open_state);
