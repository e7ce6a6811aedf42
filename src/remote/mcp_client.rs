//! The MCP server's way to a boundary over HTTP, with the token of the agent.

use std::sync::{Arc, Mutex, PoisonError};

use ureq::http::Method;

use crate::mcp::boundary_api::{ApiAnswer, ApiMethod, ApiRequest, ApiUnreachable, BoundaryApi};
use crate::remote::client::Client;

/// A boundary that the HTTP client reaches.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Client that each call copies, because calls run at the same time. The copies share their connections.
    client: Arc<Mutex<Client>>,
}

impl Remote {
    /// Uses this client, which must have a token.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client: Arc::new(Mutex::new(client)) }
    }
}

impl BoundaryApi for Remote {
    async fn call(&self, request: ApiRequest) -> Result<ApiAnswer, ApiUnreachable> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let exchange = move || {
            let method = match request.method {
                ApiMethod::Get => Method::GET,
                ApiMethod::Post => Method::POST,
            };
            let body = request.body.map(|body| body.to_string().into_bytes());
            client.exchange(&method, &request.path, body.as_deref(), request.range.as_deref())
        };
        let done = tokio::task::spawn_blocking(exchange).await;
        let done = done.map_err(|error| ApiUnreachable(format!("the request ended early: {error}")))?;
        done.map(|(status, body)| ApiAnswer { status, body }).map_err(|failure| ApiUnreachable(failure.message))
    }
}
