//! The only way from the MCP server to a boundary.

use serde_json::Value;

/// HTTP method of a call.
#[derive(Clone, PartialEq)]
pub enum ApiMethod {
    /// Read something.
    Get,
    /// Change something.
    Post,
}

/// Request to the HTTP API.
#[derive(Clone)]
pub struct ApiRequest {
    /// HTTP method.
    pub method: ApiMethod,
    /// Path with its query.
    pub path: String,
    /// JSON body.
    pub body: Option<Value>,
    /// Value of the header `Range`.
    pub range: Option<String>,
}

impl ApiRequest {
    /// Creates a request that reads `path`.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: ApiMethod::Get,
            path: path.into(),
            body: None,
            range: None,
        }
    }

    /// Creates a request that posts a JSON body to `path`.
    pub fn post(path: impl Into<String>, body: Option<Value>) -> Self {
        Self {
            method: ApiMethod::Post,
            path: path.into(),
            body,
            range: None,
        }
    }
}

/// Answer of the HTTP API.
pub struct ApiAnswer {
    /// HTTP status.
    pub status: u16,
    /// Body: JSON, or the bytes of an output.
    pub body: Vec<u8>,
}

/// The boundary sent no answer. The request may have arrived.
pub struct ApiUnreachable(pub String);

/// A boundary's HTTP API, with the credentials of one caller.
///
/// Every tool uses this one method, so the MCP server can do exactly what the caller's token can do over HTTP. An
/// implementation sends the request as it is, and adds only the credentials.
pub trait BoundaryApi: Clone + Send + Sync + 'static {
    /// Sends a request and returns the answer with any status.
    ///
    /// # Errors
    /// Returns an error if there is no answer.
    fn call(
        &self,
        request: ApiRequest,
    ) -> impl Future<Output = Result<ApiAnswer, ApiUnreachable>> + Send;
}
