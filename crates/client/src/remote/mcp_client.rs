//! Sends the requests of the MCP server to a boundary over HTTP, with the token of the agent or the key of a grantee.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use ureq::http::Method;

use crate::{Client, CommandFailure, ListedBoundary};
use documents::locked;
use wire::{ApiAnswer, ApiMethod, ApiRequest, ApiUnreachable, BoundaryApi, RegistryView};

/// Maximum number of requests at the same time, each of which has a thread.
const MAX_REQUESTS: usize = 32;

/// A boundary that the HTTP client reaches.
#[derive(Clone)]
pub struct Remote {
    /// Client, and the boundary of the list until a call has checked its id. Calls run at the same time, so each call
    /// copies the client. The copies share their connections. After a call, its copy is stored here, because the copy
    /// may have a new bearer for the key.
    client: Arc<Mutex<(Client, Option<ListedBoundary>)>>,
    /// Permits for requests. A request holds a permit until its thread ends, even if nobody waits for the answer any
    /// more.
    places: Arc<Semaphore>,
}

impl Remote {
    /// Uses this client, which must have a token or a key. The first request checks the id of the listed boundary.
    pub fn new(client: Client, unchecked: Option<ListedBoundary>) -> Self {
        let client = Arc::new(Mutex::new((client, unchecked)));
        Self {
            client,
            places: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }
}

impl BoundaryApi for Remote {
    async fn call(&self, request: ApiRequest) -> Result<ApiAnswer, ApiUnreachable> {
        let place = self.places.clone().acquire_owned().await;
        let place =
            place.map_err(|error| ApiUnreachable(format!("the request can't begin: {error}")))?;
        let shared = self.client.clone();
        let (client, unchecked) = locked(&shared).clone();
        let exchange = move || {
            let _place = place;
            let method = match request.method {
                ApiMethod::Get => Method::GET,
                ApiMethod::Post => Method::POST,
            };
            let body = request.body.map(|body| body.to_string().into_bytes());
            let checked = unchecked.as_ref().map_or(Ok(()), |listed| {
                listed.check_id(
                    client
                        .get::<RegistryView>("/v1/registry?query=")?
                        .boundary
                        .id,
                )
            });
            let unchecked = unchecked.filter(|_| checked.is_err());
            let done = checked.and_then(|()| {
                client.exchange(
                    &method,
                    &request.path,
                    body.as_deref(),
                    request.range.as_deref(),
                )
            });
            *locked(&shared) = (client, unchecked);
            done
        };
        let done = tokio::task::spawn_blocking(exchange).await;
        let done =
            done.map_err(|error| ApiUnreachable(format!("the request ended early: {error}")))?;
        match done {
            Ok((status, body)) => Ok(ApiAnswer { status, body }),
            // The boundary refuses the key.
            Err(CommandFailure {
                problem: Some(problem),
                ..
            }) => {
                let status = problem["status"]
                    .as_u64()
                    .and_then(|status| u16::try_from(status).ok());
                Ok(ApiAnswer {
                    status: status.unwrap_or(401),
                    body: problem.to_string().into_bytes(),
                })
            }
            Err(failure) => Err(ApiUnreachable(failure.message)),
        }
    }
}
