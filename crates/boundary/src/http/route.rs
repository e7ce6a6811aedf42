//! Types of the route table, from which the router, the checks and the OpenAPI document are built.

use std::{pin::Pin, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{MethodFilter, on},
};

use crate::{
    App, BodyShape, Caller, Field, HandlerResult, Reply, RequestSummary, RouteAccess, RouteCall,
    Verb, http::problem::refused,
};
use crossing::Stopped;
use documents::{Code, ReceiptId};

/// The future of a handler's answer.
type Answer = Pin<Box<dyn Future<Output = HandlerResult> + Send>>;

/// A function that handles the requests of a route.
pub(super) trait Handler: Sync {
    fn answer(&self, call: RouteCall) -> Answer;
}

impl<H, A> Handler for H
where
    H: Fn(RouteCall) -> A + Sync,
    A: Future<Output = HandlerResult> + Send + 'static,
{
    fn answer(&self, call: RouteCall) -> Answer {
        Box::pin(self(call))
    }
}

/// One method of one path.
pub struct Route {
    /// HTTP method.
    pub verb: Verb,
    /// Path of the route. In a path, `{name}` matches one segment, and `{*name}` matches all remaining segments.
    pub path: &'static str,
    /// Name of the operation in the OpenAPI document.
    pub name: &'static str,
    /// Summary of the operation, as one line.
    pub summary: &'static str,
    /// Longer description of the operation.
    pub about: &'static str,
    /// Descriptions of the placeholders, in the order of the path.
    pub segments: &'static [Field],
    /// Callers that may use the route. The boundary decides which data a caller may see.
    pub access: RouteAccess,
    /// Query fields. The service refuses any other field.
    pub query: &'static [Field],
    /// Request headers that the operation uses.
    pub headers: &'static [Field],
    /// Content of the request body.
    pub body: Option<BodyShape>,
    /// Successful responses.
    pub replies: &'static [Reply],
    /// Codes of refusals that this route can return besides the common codes.
    pub codes: &'static [Code],
    pub(super) handler: &'static dyn Handler,
}

impl Route {
    /// A route of the method GET for callers with a bearer token. Each entry of the table sets the fields in which it
    /// differs.
    pub(super) const fn get(
        path: &'static str,
        name: &'static str,
        handler: &'static dyn Handler,
    ) -> Self {
        Self {
            verb: Verb::Get,
            path,
            name,
            summary: "",
            about: "",
            segments: &[],
            access: RouteAccess::Known,
            query: &[],
            headers: &[],
            body: None,
            replies: &[],
            codes: &[],
            handler,
        }
    }

    pub(super) const fn post(
        path: &'static str,
        name: &'static str,
        handler: &'static dyn Handler,
    ) -> Self {
        Self {
            verb: Verb::Post,
            ..Self::get(path, name, handler)
        }
    }
}

/// Builds a router with all routes of the table.
pub fn router(routes: impl Iterator<Item = &'static Route>, app: Arc<App>) -> Router {
    let mut router = Router::new();
    for route in routes {
        let filter = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
        };
        let enter = move |State(app): State<Arc<App>>, request: Request| serve(app, route, request);
        router = router.route(route.path, on(filter, enter));
    }
    router.with_state(app)
}

async fn serve(app: Arc<App>, route: &'static Route, request: Request) -> Response {
    let mut principal = None;
    let answer = match RouteCall::enter(app, route.query, route.access, request).await {
        Ok(call) => {
            principal = call.caller.name().cloned();
            let (app, caller) = (call.app.clone(), call.caller.clone());
            route
                .handler
                .answer(call)
                .await
                .map_err(|stopped| for_eyes_of(&app, &caller, stopped))
        }
        Err(stopped) => Err(stopped),
    };
    let mut response = answer.unwrap_or_else(|stopped| refused(&stopped));
    response.extensions_mut().insert(RequestSummary {
        path: route.path,
        principal,
    });
    response
}

/// Removes the links to proposals and receipts that the caller may not see. Otherwise the caller would learn from a
/// refusal which hidden run spent a nonce.
fn for_eyes_of(app: &App, caller: &Caller, mut stopped: Stopped) -> Stopped {
    if let Stopped::Refused(refusal) = &mut stopped {
        let about = refusal
            .receipt
            .as_ref()
            .map(ReceiptId::proposal)
            .or_else(|| refusal.proposal.clone());
        if about.is_some_and(|id| app.boundary.proposals.proposal(caller, &id).is_err()) {
            refusal.receipt = None;
            refusal.proposal = None;
        }
    }
    stopped
}
