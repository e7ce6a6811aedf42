//! Route of the metrics on the main listener.

use axum::http::StatusCode;

use crate::{
    BodyShape, HandlerResult, Reply, Route, RouteAccess, RouteCall, Verb, http::call::bytes,
};
use store::MEDIA_TYPE;

pub(super) static ROUTES: &[Route] = &[Route {
    verb: Verb::Get,
    path: "/metrics",
    name: "metrics",
    summary: "Metrics for a monitoring system (OpenMetrics)",
    about: "The caller needs the scope `read` for all steps, because the metrics are about all steps. With \
         `[metrics] listen`, the service also answers on an address of its own, without a token.",
    segments: &[],
    access: RouteAccess::Known,
    query: &[],
    headers: &[],
    body: None,
    replies: &[Reply {
        status: 200,
        media: MEDIA_TYPE,
        shape: BodyShape::Text,
        about: "the metrics",
    }],
    codes: &[],
    handler: |call| Box::pin(metrics(call)),
}];

async fn metrics(call: RouteCall) -> HandlerResult {
    let text = call
        .blocking(|boundary, caller| boundary.monitoring.scrape_for(caller))
        .await?;
    Ok(bytes(StatusCode::OK, MEDIA_TYPE, text))
}
