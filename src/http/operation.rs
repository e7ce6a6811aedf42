//! Types that describe an operation of the route table.

use schemars::{Schema, SchemaGenerator};

/// HTTP methods that the interface uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The method GET, whose routes also answer HEAD.
    Get,
    /// The method POST, for requests that change something.
    Post,
}

/// Callers that may use the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAccess {
    /// Any caller, because the answer contains no secret or the signatures in the body authorize the request.
    Open,
    /// Any caller, because one signature authorizes the request and the request must never wait. The rate limit refuses
    /// a request only if its signature is invalid.
    Signed,
    /// Only callers with a bearer token.
    Known,
}

/// A query field, a header or a path segment.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Name of the field.
    pub name: &'static str,
    /// Description of the field.
    pub about: &'static str,
}

/// Content of a body.
#[derive(Debug, Clone, Copy)]
pub enum BodyShape {
    /// JSON with this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A body of text or lines, without a schema.
    Text,
    /// Raw bytes.
    Bytes,
}

/// A successful response.
#[derive(Debug, Clone, Copy)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Media type.
    pub media: &'static str,
    /// Content of the body.
    pub shape: BodyShape,
    /// Description of the case in which the route returns this response.
    pub about: &'static str,
}

/// Media type of JSON documents.
pub(super) const JSON: &str = "application/json";

/// Describes a response with the status 200 and a JSON document.
pub(super) const fn ok(schema: fn(&mut SchemaGenerator) -> Schema, about: &'static str) -> Reply {
    Reply { status: 200, media: JSON, shape: BodyShape::Json(schema), about }
}
