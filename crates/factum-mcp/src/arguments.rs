//! The arguments of a tool.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// The arguments of a tool, as they were written.
#[derive(Debug, Clone)]
pub(crate) struct Arguments(Bytes);

impl Arguments {
    pub(crate) fn new(given: Option<Bytes>) -> Self {
        Self(given.unwrap_or_else(|| Bytes::from_static(b"{}")))
    }

    /// Reads the input of a tool.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.0).map_err(|error| Fault::of_input(&error))
    }

    /// Gives the text out.
    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.0
    }
}
