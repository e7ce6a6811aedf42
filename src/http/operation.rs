//! What the table says of an operation: method, access, fields, bodies, answers.

use schemars::{Schema, SchemaGenerator};

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Safe; answers HEAD as well.
    Get,
    /// Changes something.
    Post,
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAccess {
    /// Everybody: nothing secret is told, or the body's signatures are the authority.
    Open,
    /// Everybody, for what one signature is the authority of and must never wait: the caller's rate refuses only what does
    /// not verify.
    Signed,
    /// Whoever holds a bearer.
    Known,
}

/// A field of a query, a header, or a part of a path.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// What a body is.
#[derive(Debug, Clone, Copy)]
pub enum BodyShape {
    /// JSON of this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Lines or text that no schema describes.
    Text,
    /// Bytes.
    Bytes,
}

/// A good answer.
#[derive(Debug, Clone, Copy)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its media type.
    pub media: &'static str,
    /// What it is.
    pub shape: BodyShape,
    /// When it is given.
    pub about: &'static str,
}

/// The media type of JSON documents.
pub(super) const JSON: &str = "application/json";

/// 200 with JSON of the type.
pub(super) const fn ok(schema: fn(&mut SchemaGenerator) -> Schema, about: &'static str) -> Reply {
    Reply { status: 200, media: JSON, shape: BodyShape::Json(schema), about }
}
