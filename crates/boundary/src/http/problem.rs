//! Refusals and faults as problem documents (RFC 9457).

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{ACCEPT, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::Response,
};

use crate::JSON;
use crossing::{Refusal, RefusalCase, Stopped, refuse};
use documents::{Code, JsonError, ReadError, Reason};
use wire::{Problem, ProblemError};

/// Media type of problem documents.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// The `type` of problem documents for internal faults.
pub const FAULT: &str = "/problems/fault";
/// Value of `Retry-After`, in seconds, for a `busy` refusal that states no time.
const BUSY_RETRY_S: u64 = 1;

/// Converts a refusal or a fault to a problem document.
pub fn problem(stopped: &Stopped) -> Problem {
    match stopped {
        Stopped::Refused(refusal) => Problem {
            kind: refusal.code.kind().to_owned(),
            title: refusal.code.title().to_owned(),
            // If the refusal has a case, the case decides the status. For example, status 410 tells a client not to
            // repeat a request for deleted content.
            status: match refusal.case {
                Some(RefusalCase::Gone) => StatusCode::GONE.as_u16(),
                Some(RefusalCase::MediaType) => StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16(),
                None => refusal.code.status(),
            },
            detail: refusal.detail.clone(),
            errors: refusal
                .places
                .iter()
                .map(|place| ProblemError {
                    pointer: place.pointer.clone(),
                    detail: place.detail.clone(),
                })
                .collect(),
            receipt: refusal.receipt.clone(),
            proposal: refusal.proposal.clone(),
            fault: None,
        },
        Stopped::Fault(fault) => Problem {
            kind: FAULT.to_owned(),
            title: "internal failure in the boundary".to_owned(),
            status: StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
            detail: format!(
                "give the operator the id {}: the service's log has the details under this id",
                fault.id
            ),
            fault: Some(fault.id.clone()),
            ..Problem::default()
        },
    }
}

/// Code of the refusal in a response, for the metrics.
#[derive(Clone)]
pub struct RefusedWith(pub(super) Code);

/// Returns the response to a refusal or a fault.
pub fn refused(stopped: &Stopped) -> Response {
    let mut response = respond(&problem(stopped));
    if let Stopped::Refused(refusal) = stopped {
        response.extensions_mut().insert(RefusedWith(refusal.code));
        let headers = response.headers_mut();
        let wait = match refusal.code {
            code if code.is_temporary() => Some(refusal.retry_after_s.unwrap_or(BUSY_RETRY_S)),
            _ => refusal.retry_after_s,
        };
        if let Some(seconds) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if refusal.case == Some(RefusalCase::MediaType) {
            // The `Accept` header of a 415 response may name the supported type (RFC 9110 section 15.5.16).
            headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        }
        if refusal.code == Code::Unauthenticated {
            // A 401 response must contain a challenge (RFC 9110 section 11.6.1).
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"countersign\""),
            );
        }
    }
    response
}

/// Returns status 405 for a known path with an unknown method. The `type` is `about:blank` (RFC 9457), because the
/// status contains all information.
pub fn method_not_allowed(allow: Option<HeaderValue>) -> Response {
    let allowed = allow
        .as_ref()
        .and_then(|allow| allow.to_str().ok())
        .unwrap_or("");
    let mut response = respond(&Problem {
        kind: "about:blank".to_owned(),
        title: "Method Not Allowed".to_owned(),
        status: StatusCode::METHOD_NOT_ALLOWED.as_u16(),
        detail: format!("this path accepts only {allowed}"),
        ..Problem::default()
    });
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn respond(problem: &Problem) -> Response {
    // The serialization can't fail, because a problem contains only text and numbers.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// Converts a parse error to a refusal that contains the place of the error.
pub fn unreadable(error: ReadError) -> Stopped {
    let detail = error.to_string();
    match error {
        ReadError::Json(JsonError {
            reason: Reason::TooLarge,
            ..
        }) => refuse(Code::TooLarge, detail),
        ReadError::Json(_) => Refusal::malformed("", detail).into(),
        ReadError::Type { pointer, message } => Refusal::new(Code::Malformed, detail)
            .at(pointer, message)
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossing::Fault;

    #[test]
    fn the_refusals_busy_and_rate_limited_have_a_retry_after_header() {
        let busy = refused(&refuse(Code::Busy, "full"));
        assert_eq!(
            (busy.status().as_u16(), &busy.headers()[RETRY_AFTER]),
            (503, &HeaderValue::from(1))
        );
        let limited = Refusal::new(Code::RateLimited, "slow down").retry_after(7);
        let limited = refused(&limited.into());
        assert_eq!(
            (limited.status().as_u16(), &limited.headers()[RETRY_AFTER]),
            (429, &HeaderValue::from(7))
        );
        assert!(
            refused(&refuse(Code::Malformed, "no"))
                .headers()
                .get(RETRY_AFTER)
                .is_none()
        );
        assert!(
            refused(&refuse(Code::Unauthenticated, "who"))
                .headers()
                .contains_key(WWW_AUTHENTICATE)
        );
    }

    #[test]
    fn a_fault_reveals_only_its_id() {
        let document = problem(&Stopped::Fault(Fault { id: "flt_1".into() }));
        assert_eq!(
            (
                document.status,
                document.kind.as_str(),
                document.fault.as_deref()
            ),
            (500, FAULT, Some("flt_1"))
        );
    }

    #[test]
    fn a_problem_lists_every_error_with_its_pointer() {
        let refusal = Refusal::new(Code::InvalidParams, "two wrong")
            .at("/params/a", "x")
            .at("/params/b", "y");
        let written = serde_json::to_value(problem(&refusal.into())).expect("JSON");
        let expected = serde_json::json!({
            "type": "/problems/invalid-params", "title": Code::InvalidParams.title(), "status": 422,
            "detail": "two wrong",
            "errors": [{"pointer": "/params/a", "detail": "x"}, {"pointer": "/params/b", "detail": "y"}],
        });
        assert_eq!(written, expected);
    }
}
