//! The endpoint that is asked most often, reached without the router, whose layers cost an append
//! more than its parsing does. It goes through the same door to the same handler.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};

use crate::door::{Door, through};
use crate::handlers::append;
use crate::state::AppState;
use crate::table;

const METHOD: Method = Method::POST;
const PATH: &str = "/v1/events";

/// `POST /v1/events`.
#[derive(Debug)]
pub(crate) struct Shortcut {
    door: Door,
}

impl Shortcut {
    /// Makes the shortcut; `None` where something lies around the router that the request must
    /// pass, as the layer for other origins does.
    pub(crate) fn new(state: &AppState) -> Option<Self> {
        let layered = !state.options.cors_allowed_origins.is_empty();
        let door = table::door(state, &METHOD, PATH).filter(|_| !layered);
        door.map(|door| Self { door })
    }

    /// Tells whether a request is for this endpoint.
    pub(crate) fn serves(request: &Request) -> bool {
        *request.method() == METHOD && request.uri().path() == PATH
    }

    /// Answers such a request.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        through(&self.door, request, async |request| {
            let state = State(self.door.state.clone());
            append::append(state, request).await.into_response()
        })
        .await
    }
}
