//! `GET /metrics`.

mod deliveries;
mod schedule;

use axum::extract::State;
use axum::response::Response;
use factum_model::Position;

use crate::error::ApiError;
use crate::handlers::mcp_metrics;
use crate::handlers::pages::typed;
use crate::handlers::sessions::write_metrics;
use crate::handlers::subscription_metrics;
use crate::live::LiveMetrics;
use crate::metrics::Page;
use crate::state::AppState;

/// Gives the metrics in the text format of Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    operation_id = "metrics",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn page(State(state): State<AppState>) -> Result<Response, ApiError> {
    let mut page = Page::default();
    state.metrics.write(&mut page);
    live(&mut page, &state.live.metrics());
    mcp_metrics::write(&mut page, &state.mcp.metrics());
    if let Some(subscriptions) = &state.services.subscriptions {
        subscription_metrics::write(&mut page, subscriptions).await;
    }
    write_metrics(&mut page, &state.sessions.metrics());
    if let Some(deliveries) = &state.services.deliveries {
        deliveries::write(&mut page, deliveries).await?;
    }
    if let Some(schedule) = &state.services.schedule
        // While the bookkeeping fails the rest of the page is wanted most.
        && let Ok(meters) = schedule.meters().await
    {
        schedule::write(&mut page, &meters);
    }
    let head = state.engine.head().map_or(0, Position::get);
    page.value(
        "store_head_position",
        "The position of the last event.",
        head,
    );
    let uptime = state.started.elapsed().as_secs();
    page.value(
        "process_uptime_seconds",
        "How long the server has been running.",
        uptime,
    );
    let bookkeeping = state.engine.state().map(|state| state.metrics().values);
    let of_stores = state.engine.store().metrics().values.into_iter();
    for (name, value) in of_stores.chain(bookkeeping.into_iter().flatten()) {
        page.value(
            name,
            "Of the store; docs/metrics.md says what it means.",
            value,
        );
    }
    let text = typed("text/plain; version=0.0.4; charset=utf-8", page.into_text());
    std::future::ready(Ok(text)).await
}

fn live(page: &mut Page, metrics: &LiveMetrics) {
    let n = |number: usize| u64::try_from(number).unwrap_or(0);
    page.value(
        "live_websockets_open",
        "Open WebSocket connections.",
        n(metrics.n_web_sockets),
    );
    page.value(
        "live_event_sources_open",
        "Open SSE responses.",
        n(metrics.n_event_sources),
    );
    page.value(
        "live_subscriptions_open",
        "Open subscriptions.",
        n(metrics.n_subscriptions),
    );
    page.value(
        "live_events_delivered_total",
        "Events delivered live.",
        metrics.delivered,
    );
    page.head(
        "live_closed_total",
        "Live connections that ended.",
        "counter",
    );
    for (code, count) in metrics.closed {
        let code = code.number();
        page.line(format_args!(
            "factum_live_closed_total{{code=\"{code}\"}} {count}"
        ));
    }
}
