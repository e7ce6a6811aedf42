//! The boundaries of the person, and the requests to them.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{
    Client, CommandFailure, CommandResult, GlobalOptions, RosterSource, TrustArgs, roster_in_force,
};
use documents::{BoundaryName, locked};
use tokio::sync::Semaphore;
use wire::{FreezeView, RegistryView};

use crate::{BoundaryTrust, proposal::log_head::VerifiedHashes};

/// Longest time that a page waits for a boundary. A slow boundary does not delay the others of the page.
pub const PAGE_WAITS: Duration = Duration::from_secs(10);
/// Maximum number of requests at the same time to one boundary, so that a boundary that hangs holds few threads.
const AT_ONCE: usize = 8;

/// Makes the client with the access of the person.
type ClientMaker = Box<dyn Fn() -> CommandResult<Client> + Send + Sync>;

/// A boundary that this program reads.
pub struct ReachedBoundary {
    /// Name in the list of boundaries, or the address.
    name: String,
    /// Name that the boundary states, after the first answer.
    own_name: Mutex<Option<BoundaryName>>,
    options: GlobalOptions,
    /// What the person trusts here.
    pub trust: BoundaryTrust,
    /// The part of the log that was verified here.
    pub hashes: VerifiedHashes,
    make: ClientMaker,
    /// The client. Its access is used until the access ends. `None` before the first request.
    client: Mutex<Option<Client>>,
    places: Arc<Semaphore>,
}

/// What a boundary says about itself, and whether the person trusts its roster.
#[derive(Debug, Clone)]
pub struct BoundaryState {
    /// Name in the roster.
    pub name: BoundaryName,
    /// Version of the roster in force.
    pub roster: u64,
    /// True if the person trusts this roster.
    pub is_trusted: bool,
    /// The freeze, if the boundary is frozen.
    pub frozen: Option<FreezeView>,
}

impl fmt::Debug for ReachedBoundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReachedBoundary")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ReachedBoundary {
    /// Takes the boundary of these options. The first request calls `make`.
    pub fn new(
        options: GlobalOptions,
        trust: &TrustArgs,
        make: impl Fn() -> CommandResult<Client> + Send + Sync + 'static,
    ) -> Self {
        let name = options.shown_name().to_owned();
        let trust = BoundaryTrust::new(&options, trust);
        Self {
            name,
            options,
            trust,
            hashes: VerifiedHashes::default(),
            make: Box::new(make),
            own_name: Mutex::default(),
            client: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Returns the name for pages: the name in the list, or else the name that the boundary has in its roster.
    pub fn shown_name(&self) -> String {
        let own = locked(&self.own_name);
        own.as_ref()
            .filter(|_| self.options.listed().is_none())
            .map_or_else(|| self.name.clone(), ToString::to_string)
    }

    /// Returns the name for pages, and asks the boundary for its name if this program does not know it yet.
    pub async fn read_name(self: &Arc<Self>) -> String {
        if self.options.listed().is_none() && self.shown_name() == self.name {
            // If the boundary does not answer, the page shows its address.
            drop(self.read(|place, client| place.roster(client)).await);
        }
        self.shown_name()
    }

    /// Sends requests. The work has its own client, so that it holds no lock while it waits.
    ///
    /// # Errors
    /// Returns the error of the work, or the reason why there is no client.
    pub fn with<T>(&self, work: impl FnOnce(&Client) -> CommandResult<T>) -> CommandResult<T> {
        let known = locked(&self.client).clone();
        let client = match known {
            Some(client) => client,
            None => (self.make)()?,
        };
        let result = work(&client);
        *locked(&self.client) = Some(client);
        result
    }

    /// Reads what the boundary says about itself.
    ///
    /// # Errors
    /// Returns an error if the boundary does not answer, or has another id than the list of boundaries states.
    pub fn state(&self, client: &Client) -> CommandResult<BoundaryState> {
        let (registry, roster) = self.roster(client)?;
        let is_trusted = roster
            .trusted()
            .is_some_and(|trusted| trusted.digest() == registry.seal.roster);
        let version = roster.roster().map_or(0, |roster| roster.version());
        Ok(BoundaryState {
            name: registry.boundary.name,
            roster: version,
            is_trusted,
            frozen: registry.frozen,
        })
    }

    /// Reads the roster in force, and checks the id of the boundary.
    ///
    /// # Errors
    /// As for [`Self::state`].
    pub fn roster(&self, client: &Client) -> CommandResult<(RegistryView, RosterSource)> {
        let (registry, roster) = roster_in_force(client, &self.trust.rosters()?)?;
        self.trust.check_id(registry.boundary.id)?;
        *locked(&self.own_name) = Some(registry.boundary.name.clone());
        Ok((registry, roster))
    }

    /// Does work that only reads, on a thread of its own, and waits for a limited time.
    ///
    /// # Errors
    /// Returns the error of the work, or that the boundary did not answer in time.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Client) -> CommandResult<T> + Send + 'static,
    ) -> CommandResult<T> {
        // A request that no page waits for must not hold one of the few places of the boundary.
        let limited = move |own: &Self, client: &Client| {
            client.limit_reads(Some(PAGE_WAITS + Duration::from_secs(2)));
            let result = work(own, client);
            client.limit_reads(None);
            result
        };
        match tokio::time::timeout(PAGE_WAITS, self.act(limited)).await {
            Ok(result) => result,
            Err(_) => Err(CommandFailure::unreachable(format!(
                "the boundary at {} did not answer within {} s: load the page again, or ask its operator",
                self.options.url,
                PAGE_WAITS.as_secs()
            ))),
        }
    }

    /// Does work that changes something, on a thread of its own, and waits until it is done: the person may have to touch a key.
    /// The work goes on if the browser no longer waits.
    ///
    /// # Errors
    /// Returns the error of the work.
    pub async fn act<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Client) -> CommandResult<T> + Send + 'static,
    ) -> CommandResult<T> {
        let ended =
            |what: String| CommandFailure::unreachable(format!("the work ended too early: {what}"));
        let place = self
            .places
            .clone()
            .acquire_owned()
            .await
            .map_err(|error| ended(error.to_string()))?;
        let own = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            own.with(|client| work(&own, client))
        });
        work.await.map_err(|error| ended(error.to_string()))?
    }
}
