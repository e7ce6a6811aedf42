//! The table of all routes.

use crate::{
    Route,
    http::{
        admissions, artifacts, authorizations, challenges, denials, feed, grants, log_routes, mcp,
        metrics_route, outputs, probes, proposals, receipts, registry, reviews, revocations,
        sessions,
    },
};

/// Returns all routes.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    [
        registry::ROUTES,
        proposals::ROUTES,
        sessions::ROUTES,
        artifacts::ROUTES,
        denials::ROUTES,
        revocations::ROUTES,
        authorizations::ROUTES,
        receipts::ROUTES,
        outputs::ROUTES,
        challenges::ROUTES,
        admissions::ROUTES,
        log_routes::ROUTES,
        mcp::ROUTES,
        feed::ROUTES,
        grants::ROUTES,
        reviews::ROUTES,
        probes::ROUTES,
        metrics_route::ROUTES,
    ]
    .into_iter()
    .flatten()
}
