//! The boundaries of a desk, and the passkeys of their rosters.

use std::sync::Arc;

use client::{Client, CommandFailure, CommandResult, GlobalOptions, TrustArgs};
use documents::{ForeignKey, KeyId, Name};
use verdict::{KeyHolder, TrustedRoster};

use crate::{BoundaryTrust, ReachedBoundary};

/// A boundary of a desk.
pub struct DeskBoundary {
    options: GlobalOptions,
    trust: TrustArgs,
    /// Access to the boundary without credentials, for the login.
    pub public: Arc<ReachedBoundary>,
}

impl DeskBoundary {
    /// Returns the boundary of these options.
    ///
    /// # Errors
    /// Returns an error if no roster of the boundary can be read from a file, because then nobody can log in.
    pub fn new(options: GlobalOptions, trust: &TrustArgs, host: &str) -> CommandResult<Self> {
        let own = options.clone();
        let public = ReachedBoundary::new(options.clone(), trust, move || own.client_with(None));
        let boundary = Self {
            options,
            trust: trust.clone(),
            public: Arc::new(public),
        };
        if boundary.rosters()?.is_empty() {
            let words = if boundary.options.listed().is_none() && !boundary.options.given.address {
                format!(
                    "the desk {host} has no boundary, because the list of boundaries of this user is empty: add each boundary \
                     with `countersign boundary add NAME --url URL --roster FILE`, as the user who runs the desk"
                )
            } else {
                format!(
                    "the desk {host} has no roster file for {}: a digest is not enough, because the desk finds the passkeys of \
                     people in the file. Add the boundary again with `countersign boundary add NAME --roster FILE`",
                    boundary.public.shown_name()
                )
            };
            return Err(CommandFailure::no_trust(words));
        }
        Ok(boundary)
    }

    /// Returns true if people call the boundary by this name.
    pub fn has_name(&self, name: &str) -> bool {
        self.options
            .listed()
            .is_some_and(|listed| listed.name == name)
    }

    /// Returns access to the boundary with the rights of one person.
    pub fn with_bearer(&self, bearer: String) -> ReachedBoundary {
        let own = self.options.clone();
        ReachedBoundary::new(self.options.clone(), &self.trust, move || {
            own.client_with(Some(&bearer))
        })
    }

    fn rosters(&self) -> CommandResult<Vec<TrustedRoster>> {
        let pinned = self.public.trust.rosters()?;
        Ok(pinned
            .iter()
            .filter_map(|chosen| chosen.pinned.newest().cloned())
            .collect())
    }

    /// Returns the passkeys of this approver at this host. The roster file is read each time, so a new roster needs no
    /// restart.
    pub fn passkeys(&self, person: &Name, host: &str) -> Vec<ForeignKey> {
        let rosters = self.rosters().unwrap_or_default();
        let keys = rosters
            .iter()
            .flat_map(TrustedRoster::foreign_keys)
            .filter(|(holder, key)| {
                let holds = matches!(holder, KeyHolder::Approver(name) if name == person);
                holds && key.passkey().is_some_and(|passkey| passkey.host() == host)
            });
        keys.map(|(_, key)| key.clone()).collect()
    }

    /// Asks the boundary for the challenge of a key. The challenge names its boundary, so no boundary can pass on a
    /// challenge of another boundary.
    pub fn challenge(
        trust: &BoundaryTrust,
        client: &Client,
        keyid: KeyId,
    ) -> CommandResult<String> {
        let (challenge, id) = client.challenge(keyid)?;
        trust.check_id(id)?;
        Ok(challenge)
    }
}
