//! Messages answered here.

use bytes::Bytes;
use factum_mcp::{Caller, Mcp, Reply};

use crate::stdio::Answerer;

/// Answers messages itself.
#[derive(Debug)]
pub(crate) struct Local {
    tools: Mcp,
    caller: Caller,
}

impl Local {
    pub(crate) const fn new(tools: Mcp, caller: Caller) -> Self {
        Self { tools, caller }
    }
}

impl Answerer for Local {
    async fn answer(&self, message: Bytes) -> Option<Vec<u8>> {
        match self.tools.answer(&message, None, &self.caller).await {
            Reply::Message { body, .. } => Some(body),
            Reply::Accepted => None,
        }
    }
}
