//! The ids of a request in log lines: an id of the service, and the trace id of the W3C header `traceparent`.

use axum::http::HeaderMap;
use tracing::Span;
use tracing::field::Empty;

use documents::hex;

/// Name of the header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// Returns the span for the log lines of one request. If the format of the log shows no spans, the span is disabled.
pub(super) fn request_span(headers: &HeaderMap) -> Span {
    // The level is that of errors, so that a filter for errors keeps the ids.
    let span = tracing::error_span!(
        "request",
        request_id = Empty,
        trace_id = Empty,
        proposal = Empty,
        step = Empty
    );
    if !span.is_disabled() {
        let mut random = [0_u8; 8];
        // The id only serves to find the log lines of a request. Without randomness, the id consists of zeros.
        let _ = getrandom::fill(&mut random);
        span.record("request_id", format!("req_{}", hex(&random)));
        if let Some(trace_id) = trace_id(headers) {
            span.record("trace_id", trace_id);
        }
    }
    span
}

/// Returns the trace id of a well-formed `traceparent` header of version 00 (W3C Trace Context, section 3.2). Every other
/// header is ignored, because a log line must not contain arbitrary text of a client.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return None;
    };
    let mut fields = value.to_str().ok()?.split('-');
    let is_hex = |text: &str, length| {
        text.len() == length
            && text
                .bytes()
                .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|c| c != b'0');
    let (version, trace, parent, flags) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    let valid = version == "00"
        && is_id(trace, 32)
        && is_id(parent, 16)
        && is_hex(flags, 2)
        && fields.next().is_none();
    valid.then_some(trace)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_of_version_00_has_a_trace_id() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(TRACEPARENT, HeaderValue::from_static(value));
            });
            trace_id(&headers).map(str::to_owned)
        };
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(&[good]).as_deref(), Some(TRACE));
        assert_eq!(
            of(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"]).as_deref(),
            Some(TRACE)
        );
        for bad in [
            &[][..],
            &[good, good],
            &[""],
            &["00"],
            &["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"],
            &[" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e473\"-00f067aa0ba902b7-01"],
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
