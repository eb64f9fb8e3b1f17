//! Agent sessions over a real store.
