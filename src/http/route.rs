//! The table that router, checks and OpenAPI are made of.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};

use crate::crossing::caller::Caller;
use crate::crossing::refusal::Stopped;
use crate::http::app::{App, RequestSummary};
use crate::http::call::RouteCall;
use crate::http::operation::{BodyShape, Field, Reply, RouteAccess, Verb};
use crate::record::code::Code;
use crate::record::ident::ReceiptId;

/// What a handler gives.
pub(super) type HandlerResult = Result<Response, Stopped>;
/// A handler, as the table holds it.
pub(super) type Handler = fn(RouteCall) -> Pin<Box<dyn Future<Output = HandlerResult> + Send>>;

/// One method of one path: all that router, checks and OpenAPI know about it.
pub struct Route {
    /// The method.
    pub verb: Verb,
    /// The path; `{name}` is one segment of it, `{*name}` all that follow.
    pub path: &'static str,
    /// The operation's name in OpenAPI.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What a caller should know of it, in a few sentences.
    pub about: &'static str,
    /// What stands in the braces of the path, in their order.
    pub segments: &'static [Field],
    /// Who may call at all; what of it a caller may see, the boundary decides.
    pub access: RouteAccess,
    /// The query's fields; any other is refused.
    pub query: &'static [Field],
    /// Headers that it heeds.
    pub headers: &'static [Field],
    /// What the body has to be.
    pub body: Option<BodyShape>,
    /// What it answers when all goes well.
    pub replies: &'static [Reply],
    /// Refusals of its own, beside those that every route has.
    pub codes: &'static [Code],
    pub(super) handler: Handler,
}

/// A router that has every route of the table and no other.
pub(super) fn router(routes: impl Iterator<Item = &'static Route>, app: Arc<App>) -> Router {
    let mut router = Router::new();
    for route in routes {
        let filter = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
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
            (route.handler)(call).await.map_err(|stopped| for_eyes_of(&app, &caller, stopped))
        }
        Err(stopped) => Err(stopped),
    };
    let mut response = answer.unwrap_or_else(|stopped| stopped.into_response());
    response.extensions_mut().insert(RequestSummary { path: route.path, principal });
    response
}

/// Takes links out of a refusal that this caller may not follow: whose run spent a nonce is not for strangers.
fn for_eyes_of(app: &App, caller: &Caller, mut stopped: Stopped) -> Stopped {
    if let Stopped::Refused(refusal) = &mut stopped {
        let about = refusal.receipt.as_ref().map(ReceiptId::proposal).or_else(|| refusal.proposal.clone());
        if about.is_some_and(|id| app.boundary.proposals.proposal(caller, &id).is_err()) {
            refusal.receipt = None;
            refusal.proposal = None;
        }
    }
    stopped
}
