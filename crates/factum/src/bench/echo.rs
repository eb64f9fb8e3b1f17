//! The bare server that appends are compared with: it reads a body and sends it back.

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::net::TcpListener;

/// Serves on a free port of this machine, whose URL `announce` is told, until the process ends.
pub(crate) async fn serve(
    announce: impl FnOnce(String) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(format!("http://{}", listener.local_addr()?))?;
    let router = Router::new().route("/v1/events", post(|body: Bytes| async move { body }));
    axum::serve(listener, router).await
}
