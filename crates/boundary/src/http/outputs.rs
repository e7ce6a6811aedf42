//! Routes of recorded outputs. The routes support range requests.

use std::io;

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
            CONTENT_SECURITY_POLICY, ETAG, IF_RANGE, RANGE,
        },
    },
    response::Response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    BodyShape, HandlerResult, MEDIA_TYPE, Route, RouteCall,
    http::{
        access::only,
        call::bytes,
        operation::{field, json, reply},
    },
};
use crossing::{RequestResult, Stopped, fault};
use documents::Blake3Digest;
use wire::Problem;

/// Number of bytes in one read from the store, because the memory of a reader must be limited.
const PIECE: u64 = 256 << 10;
/// Media type for bytes whose type is unknown.
pub const OCTETS: &str = "application/octet-stream";

pub static ROUTES: &[Route] = &[Route {
    summary: "Recorded output, by the `blake3:` digest that its receipt names",
    about: "A receipt names the output of each stream by two digests; this path takes the digest in `blake3`. The \
         bytes are exactly the bytes that the step wrote, and may contain control characters.",
    segments: &[field(
        "digest",
        "`blake3:` and 64 hexadecimal digits, from the receipt",
    )],
    headers: &[
        field("Range", "one range of bytes"),
        field(
            "If-Range",
            "the ETag of the earlier answer: if the output has another ETag, the \
             answer contains the whole output",
        ),
    ],
    replies: &[
        reply(200, OCTETS, BodyShape::Bytes, "the whole output"),
        reply(206, OCTETS, BodyShape::Bytes, "the range"),
        reply(
            410,
            MEDIA_TYPE,
            json::<Problem>(),
            "not-found: the retention of the output has ended; the receipt and its digests stay",
        ),
        reply(
            416,
            OCTETS,
            BodyShape::Bytes,
            "the range begins after the end",
        ),
    ],
    ..Route::get("/v1/outputs/{digest}", "output", &output)
}];

async fn output(call: RouteCall) -> HandlerResult {
    let digest: Blake3Digest = call.path("digest")?;
    let length = call
        .blocking(move |boundary, caller| boundary.evidence.output_size(caller, &digest))
        .await?;
    let tag = format!("\"{digest}\"");
    let range = asked(&call.headers, &tag, length)?;
    let (first, end) = match range {
        Range::Whole => (0, length),
        Range::Part { first, last } => (first, last + 1),
        Range::Beyond => (0, 0),
    };
    let mut response = ranged(pieces(&call, digest, first, end).await?, range, length)?;
    let headers = response.headers_mut();
    headers.insert(
        ETAG,
        tag.parse()
            .map_err(|_| fault("a digest contains only characters that a header may have"))?,
    );
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

/// Returns the response with a file or the output of a step. A browser must not render it as a page of this service.
pub fn attachment(body: Body) -> Response {
    let mut response = bytes(OCTETS, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    response
}

fn asked(headers: &HeaderMap, tag: &str, length: u64) -> RequestResult<Range> {
    let Some(range) = only(headers, &RANGE)? else {
        return Ok(Range::Whole);
    };
    let same = only(headers, &IF_RANGE)?.is_none_or(|given| given == tag);
    Ok(if same {
        parse_range(range, length)
    } else {
        Range::Whole
    })
}

/// Returns a body with the bytes from `first` up to `end`. A large output is read piece by piece while the client
/// receives it.
async fn pieces(
    call: &RouteCall,
    digest: Blake3Digest,
    first: u64,
    end: u64,
) -> RequestResult<Body> {
    let read = move |from: u64| from..end.min(from.saturating_add(PIECE));
    if first >= end {
        return Ok(Body::empty());
    }
    // Read the first piece before the response begins, because an error can then still change the status.
    let begin = call
        .blocking(move |boundary, caller| boundary.evidence.output(caller, &digest, read(first)))
        .await?;
    if read(first).end == end {
        return Ok(Body::from(begin));
    }
    let (to, from) = mpsc::channel::<io::Result<Bytes>>(1);
    let (boundary, caller) = (call.app.boundary.clone(), call.caller.clone());
    tokio::task::spawn(async move {
        let mut next = Ok(begin);
        let mut at = first;
        loop {
            let last = next.is_err();
            let piece = next
                .map(Bytes::from)
                .map_err(|error: Stopped| io::Error::other(error.to_string()));
            at = read(at).end;
            if to.send(piece).await.is_err() || last || at >= end {
                return;
            }
            let (boundary, caller) = (boundary.clone(), caller.clone());
            next = tokio::task::spawn_blocking(move || {
                boundary.evidence.output(&caller, &digest, read(at))
            })
            .await
            .map_err(fault)
            .flatten();
        }
    });
    Ok(Body::from_stream(ReceiverStream::new(from)))
}

/// Builds the response for a body that has exactly the bytes of `range`.
fn ranged(body: Body, range: Range, length: u64) -> RequestResult<Response> {
    let (status, bytes_of, content_range) = match range {
        Range::Whole => (StatusCode::OK, length, None),
        Range::Beyond => (
            StatusCode::RANGE_NOT_SATISFIABLE,
            0,
            Some(format!("bytes */{length}")),
        ),
        Range::Part { first, last } => (
            StatusCode::PARTIAL_CONTENT,
            last - first + 1,
            Some(format!("bytes {first}-{last}/{length}")),
        ),
    };
    let mut response = attachment(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, bytes_of.into());
    let Some(content_range) = content_range else {
        return Ok(response);
    };
    let value = content_range
        .parse()
        .map_err(|_| fault("a range contains only characters that a header may have"))?;
    response.headers_mut().insert(CONTENT_RANGE, value);
    Ok(response)
}

/// Meaning of a `Range` header.
#[derive(Debug, PartialEq)]
enum Range {
    /// The whole output, because the header is missing, names several ranges, or has an unknown form (RFC 9110 section
    /// 14.2).
    Whole,
    /// The part between these two bytes, including both.
    Part { first: u64, last: u64 },
    /// A range that begins after the end of the output.
    Beyond,
}

/// Parses a header of the form `bytes=first-last`, `bytes=first-` or `bytes=-length` (RFC 9110 section 14.1.2).
fn parse_range(header: &str, length: u64) -> Range {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        // A number that does not fit into u64 is beyond the end of every output.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let Some((unit, range)) = header.split_once('=') else {
        return Range::Whole;
    };
    let Some((first, last)) = range
        .trim()
        .split_once('-')
        .filter(|_| unit.eq_ignore_ascii_case("bytes"))
    else {
        return Range::Whole;
    };
    let (first, last) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last),
        (Some(first), None) if last.is_empty() => (first, u64::MAX),
        (None, Some(0)) if first.is_empty() => return Range::Beyond,
        (None, Some(count)) if first.is_empty() => (length.saturating_sub(count), u64::MAX),
        _ => return Range::Whole,
    };
    if first >= length {
        Range::Beyond
    } else {
        Range::Part {
            first,
            last: last.min(length - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_headers_are_parsed_as_in_rfc_9110() {
        let part = |first, last| Range::Part { first, last };
        for (header, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-9", part(0, 9)),
            ("bytes=3-", part(3, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-30", part(0, 9)),
            ("Bytes=2-400", part(2, 9)),
            ("bytes=9-99999999999999999999999", part(9, 9)),
            ("bytes=10-", Range::Beyond),
            ("bytes=10-12", Range::Beyond),
            ("bytes=-0", Range::Beyond),
            ("bytes=99999999999999999999999-", Range::Beyond),
            ("bytes=5-4", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("lines=0-1", Range::Whole),
            ("bytes", Range::Whole),
            ("", Range::Whole),
        ] {
            assert_eq!(parse_range(header, 10), expected, "{header}");
        }
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(parse_range(header, 0), Range::Beyond, "{header} of nothing");
        }
    }

    #[test]
    fn a_partial_response_contains_its_range_and_a_416_response_contains_the_length() {
        let of = |range| {
            let response = ranged(Body::empty(), range, 10).expect("an answer");
            (
                response.status().as_u16(),
                response.headers().get(CONTENT_RANGE).cloned(),
            )
        };
        assert_eq!(of(Range::Whole), (200, None));
        assert_eq!(
            of(Range::Part { first: 2, last: 9 }),
            (206, Some(HeaderValue::from_static("bytes 2-9/10")))
        );
        assert_eq!(
            of(Range::Beyond),
            (416, Some(HeaderValue::from_static("bytes */10")))
        );
    }

    #[test]
    fn a_range_request_for_another_version_gets_the_whole_output() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=1-2"));
        assert_eq!(
            asked(&headers, "\"t\"", 10).ok(),
            Some(Range::Part { first: 1, last: 2 })
        );
        headers.insert(IF_RANGE, HeaderValue::from_static("\"t\""));
        assert_eq!(
            asked(&headers, "\"t\"", 10).ok(),
            Some(Range::Part { first: 1, last: 2 })
        );
        headers.insert(IF_RANGE, HeaderValue::from_static("\"other\""));
        assert_eq!(asked(&headers, "\"t\"", 10).ok(), Some(Range::Whole));
    }
}
