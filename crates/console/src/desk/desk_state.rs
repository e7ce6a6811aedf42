//! What the requests before the login share.

use std::io;
use std::time::Instant;

use axum::Extension;
use axum::http::StatusCode;

use crate::desk::desk_boundary::DeskBoundary;
use crate::desk::listening::{AttemptLimits, BrowserAddress};
use crate::desk::login_sessions::LoginSessions;
use crate::web::one_use::OpenForms;
use crate::web::refused_request::{PageAnswer, RefusedRequest};
use crate::web::secrets::FormKey;

/// The address of the browser.
pub(super) type Peer = Extension<BrowserAddress>;

/// What the requests before the login need.
#[derive(Debug)]
pub(super) struct Desk {
    /// Address as browsers write an origin.
    pub(super) origin: String,
    pub(super) boundaries: Vec<DeskBoundary>,
    pub(super) logins: LoginSessions,
    pub(super) form_key: FormKey,
    /// The forms of logins that have begun. The pages show nothing of what is kept, because it tells who is in a roster.
    pub(super) forms: OpenForms<String>,
    limits: AttemptLimits,
}

impl Desk {
    /// Makes the desk with this address.
    ///
    /// # Errors
    /// Returns an error if the system has no random bytes.
    pub(super) fn new(origin: &str, boundaries: Vec<DeskBoundary>) -> io::Result<Self> {
        let (forms, limits, logins) = Default::default();
        Ok(Self { origin: origin.to_owned(), boundaries, logins, form_key: FormKey::random()?, forms, limits })
    }

    /// Returns the name and the port, as a browser sends them.
    pub(super) fn authority(&self) -> &str {
        self.origin.trim_start_matches("https://")
    }

    /// Returns the name, to which the passkeys belong.
    pub(super) fn host(&self) -> &str {
        self.authority().split(':').next().unwrap_or_default()
    }

    /// Returns the place of the boundary with this name. A desk with one boundary needs no name.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        let named = self.boundaries.iter().position(|boundary| boundary.has_name(name));
        named.or_else(|| (self.boundaries.len() == 1).then_some(0))
    }

    /// Counts an attempt of an address.
    pub(super) fn count(&self, peer: BrowserAddress) -> PageAnswer<()> {
        if self.limits.take(peer.0, Instant::now()) {
            return Ok(());
        }
        let what = "Too many attempts come from your address. Wait a minute, then try again.";
        Err(RefusedRequest::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts", what))
    }
}
