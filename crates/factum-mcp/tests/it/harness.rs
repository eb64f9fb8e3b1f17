//! The tools over a store in memory, and a client of few words.

use std::sync::Arc;

use bytes::Bytes;
use factum_engine::{Engine, EngineOptions, Identity, Principal, Scope, Scopes};
use factum_mcp::{Access, Caller, Mcp, McpOptions, Reply, Verdict};
use factum_model::{LogicalClock, MonotonicIds};
use factum_sessions::{SessionOptions, Sessions};
use factum_store::MemoryStore;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The tools, with agent sessions that run until the test ends.
pub(crate) struct Harness {
    pub(crate) mcp: Mcp,
    end: CancellationToken,
    _lasts: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    running: tokio::task::JoinHandle<()>,
}

impl Harness {
    pub(crate) fn start() -> Self {
        Self::start_with(McpOptions::default())
    }

    pub(crate) fn start_with(options: McpOptions) -> Self {
        let engine = Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default());
        Self::start_over(engine, options)
    }

    /// Starts with a clock that stands still.
    pub(crate) fn start_with_clock() -> (Self, Arc<LogicalClock>) {
        let at = "2026-11-21T09:00:00Z".parse().unwrap();
        let clock = Arc::new(LogicalClock::at(at));
        let ids = MonotonicIds::new(|bytes| bytes.fill(7));
        let store = MemoryStore::with(Arc::clone(&clock) as Arc<_>, Arc::new(ids));
        let engine_options = EngineOptions {
            clock: Arc::clone(&clock) as Arc<_>,
            ..EngineOptions::default()
        };
        let engine = Engine::new(Arc::new(store), engine_options);
        (Self::start_over(engine, McpOptions::default()), clock)
    }

    fn start_over(engine: Engine, options: McpOptions) -> Self {
        let sessions = Sessions::new(engine.clone(), SessionOptions::default());
        let mcp = Mcp::new(engine, Some(sessions.clone()), options, "0");
        let end = CancellationToken::new();
        let until = end.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let running = tokio::spawn(async move { sessions.run(until).await });
        let (lasts, ended) = watch::channel(false);
        Self {
            mcp,
            end,
            _lasts: lasts,
            ended,
            running,
        }
    }

    pub(crate) fn caller(&self, scopes: &[Scope], access: Access) -> Caller {
        let identity = Identity {
            key_id: None,
            name: "test".to_owned(),
            scopes: Scopes::of(scopes),
            expires_at: None,
        };
        Caller {
            principal: Principal::new(Arc::new(identity), self.ended.clone()),
            access,
        }
    }

    pub(crate) async fn send(&self, text: &str, caller: &Caller) -> (Value, Verdict) {
        let text = Bytes::copy_from_slice(text.as_bytes());
        match self.mcp.answer(&text, None, caller).await {
            Reply::Message { body, verdict } => (serde_json::from_slice(&body).unwrap(), verdict),
            Reply::Accepted => panic!("no answer to {text:?}"),
        }
    }

    /// Makes a request in the revision with `initialize`.
    pub(crate) async fn request(&self, method: &str, params: &Value) -> Value {
        let caller = self.caller(&[Scope::Read, Scope::Append], Access::All);
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.send(&message.to_string(), &caller).await.0
    }

    pub(crate) async fn call_as(&self, caller: &Caller, tool: &str, arguments: &str) -> Value {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        let (answer, _) = self.send(&message, caller).await;
        answer["result"].clone()
    }

    /// Calls a tool, and returns what it answered.
    pub(crate) async fn call(&self, tool: &str, arguments: &Value) -> Value {
        let caller = self.caller(&[Scope::Read, Scope::Append], Access::All);
        let result = self.call_as(&caller, tool, &arguments.to_string()).await;
        assert_eq!(result["isError"], false, "{tool} {arguments}: {result}");
        assert!(result["content"][0]["text"].is_string());
        result["structuredContent"].clone()
    }

    /// Calls a tool that refuses, and returns the sentence and the document.
    pub(crate) async fn refused(&self, tool: &str, arguments: &Value) -> (String, Value) {
        let caller = self.caller(&[Scope::Read, Scope::Append], Access::All);
        let result = self.call_as(&caller, tool, &arguments.to_string()).await;
        assert_eq!(result["isError"], true, "{tool} {arguments}: {result}");
        assert!(result.get("structuredContent").is_none());
        let text = |at: usize| result["content"][at]["text"].as_str().unwrap_or("null");
        (text(0).to_owned(), serde_json::from_str(text(1)).unwrap())
    }

    pub(crate) async fn stop(self) {
        self.end.cancel();
        self.running.await.unwrap();
    }
}
