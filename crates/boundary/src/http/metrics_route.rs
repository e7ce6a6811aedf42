//! Route of the metrics on the main listener.

use crate::{
    BodyShape, HandlerResult, Route, RouteCall,
    http::{call::bytes, operation::reply},
};
use store::MEDIA_TYPE;

pub static ROUTES: &[Route] = &[Route {
    summary: "Metrics for a monitoring system (OpenMetrics)",
    about: "The caller needs the scope `read` for all steps, because the metrics are about all steps. With \
         `[metrics] listen`, the service also answers on an address of its own, without a token.",
    replies: &[reply(200, MEDIA_TYPE, BodyShape::Text, "the metrics")],
    ..Route::get("/metrics", "metrics", &metrics)
}];

async fn metrics(call: RouteCall) -> HandlerResult {
    let text = call
        .blocking(|boundary, caller| boundary.monitoring.scrape_for(caller))
        .await?;
    Ok(bytes(MEDIA_TYPE, text))
}
