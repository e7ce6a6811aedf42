//! The MCP server's way to a boundary over HTTP, with the token of the agent.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use ureq::http::Method;

use crate::remote::client::Client;
use wire::mcp::boundary_api::{ApiAnswer, ApiMethod, ApiRequest, ApiUnreachable, BoundaryApi};

/// Maximum number of requests at the same time, each of which has a thread.
const MAX_REQUESTS: usize = 32;

/// A boundary that the HTTP client reaches.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Client that each call copies, because calls run at the same time. The copies share their connections.
    client: Arc<Mutex<Client>>,
    /// A request holds a place until its thread ends, also if nobody waits for the answer any more.
    places: Arc<Semaphore>,
}

impl Remote {
    /// Uses this client, which must have a token.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client: Arc::new(Mutex::new(client)), places: Arc::new(Semaphore::new(MAX_REQUESTS)) }
    }
}

impl BoundaryApi for Remote {
    async fn call(&self, request: ApiRequest) -> Result<ApiAnswer, ApiUnreachable> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|error| ApiUnreachable(format!("the request can't begin: {error}")))?;
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let exchange = move || {
            let _place = place;
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
