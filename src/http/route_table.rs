//! The table of all routes.

use crate::http::route::Route;
use crate::http::{
    artifacts, authorizations, challenges, denials, log_routes, outputs, probes, proposals, receipts, registry,
    sessions,
};

/// Returns all routes.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    [
        registry::ROUTES,
        proposals::ROUTES,
        sessions::ROUTES,
        artifacts::ROUTES,
        denials::ROUTES,
        authorizations::ROUTES,
        receipts::ROUTES,
        outputs::ROUTES,
        challenges::ROUTES,
        log_routes::ROUTES,
        probes::ROUTES,
    ]
    .into_iter()
    .flatten()
}
