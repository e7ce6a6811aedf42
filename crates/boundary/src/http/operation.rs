//! Types that describe an operation of the route table.

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// HTTP methods that the interface uses.
#[derive(Clone, Copy, PartialEq)]
pub enum Verb {
    /// GET. The route also answers HEAD.
    Get,
    /// POST, for requests that change something.
    Post,
    /// PUT, to store something under its digest.
    Put,
}

/// Callers that may use the route.
#[derive(Clone, Copy, PartialEq)]
pub enum RouteAccess {
    /// Any caller, because the answer contains no secret, or because the signatures in the body authorize the request.
    Open,
    /// Any caller, because a signature authorizes the request. A request with a valid signature is never refused by the
    /// rate limit.
    Signed,
    /// Only callers with a bearer token.
    Known,
    /// Any caller under any Host. Nobody is charged, because a stranger could otherwise starve the checks of a proxy or
    /// of an orchestrator. A bearer token is not read.
    Probe,
}

/// Query field, header or path segment.
pub struct Field {
    /// Name of the field.
    pub name: &'static str,
    /// Description of the field.
    pub about: &'static str,
}

/// Content of a body.
#[derive(Clone, Copy)]
pub enum BodyShape {
    /// JSON with this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A body of text or lines, without a schema.
    Text,
    /// Raw bytes.
    Bytes,
}

/// A successful response.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Media type.
    pub media: &'static str,
    /// Content of the body.
    pub shape: BodyShape,
    /// Description of the case for this response.
    pub about: &'static str,
}

/// Media type of JSON documents.
pub const JSON: &str = "application/json";

/// A body of JSON with the schema of `T`.
pub const fn json<T: JsonSchema>() -> BodyShape {
    BodyShape::Json(SchemaGenerator::subschema_for::<T>)
}

/// The response 200 with a JSON document.
pub const fn ok<T: JsonSchema>(about: &'static str) -> Reply {
    reply(200, JSON, json::<T>(), about)
}

pub const fn reply(
    status: u16,
    media: &'static str,
    shape: BodyShape,
    about: &'static str,
) -> Reply {
    Reply {
        status,
        media,
        shape,
        about,
    }
}

pub const fn field(name: &'static str, about: &'static str) -> Field {
    Field { name, about }
}
