//! The state that the requests before the login share.

use std::{io, time::Instant};

use axum::{Extension, http::StatusCode};
use client::eprintln_quietly;
use documents::{ForeignKey, Name};

use crate::{
    DeskBoundary, OpenForms, PageAnswer, RefusedRequest,
    desk::{
        listening::{AttemptLimits, BrowserAddress},
        login_sessions::LoginSessions,
    },
    web::secrets::FormKey,
};

/// Maximum length of the path of a page after the login.
const LONGEST: usize = 200;

/// The page after the login: a path of this desk.
pub struct LoginTarget(String);

impl LoginTarget {
    /// Parses a path of this desk, with plain characters only. `//host` would lead to another site.
    pub fn parse(path: &str) -> Option<Self> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"/._-:".contains(&c);
        let own = path.starts_with('/')
            && !path.contains("//")
            && path.len() <= LONGEST
            && path.bytes().all(plain);
        own.then(|| Self(path.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LoginTarget {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

/// A login that has begun. The desk stores the attempt under the number of the form on its page.
#[derive(Default)]
pub struct LoginAttempt {
    /// Place of the boundary. `None` if the desk has no such boundary.
    pub place: Option<usize>,
    /// Index of the requested passkey among the passkeys of this person.
    pub key: usize,
    pub name: Option<Name>,
    pub to: LoginTarget,
}

impl LoginAttempt {
    /// Returns the boundary, and the passkeys of the person.
    pub fn keys<'d>(&self, desk: &'d Desk) -> Option<(&'d DeskBoundary, Vec<ForeignKey>)> {
        let boundary = desk.boundaries.get(self.place?)?;
        Some((
            boundary,
            boundary.passkeys(self.name.as_ref()?, desk.host()),
        ))
    }
}

/// The address of the browser.
pub type Peer = Extension<BrowserAddress>;

/// The state that the requests before the login need.
pub struct Desk {
    /// Origin of the desk, as browsers send it.
    pub origin: String,
    pub boundaries: Vec<DeskBoundary>,
    pub logins: LoginSessions,
    pub form_key: FormKey,
    /// The logins that have begun, with their challenges, by the number of their form. Pages don't show these values,
    /// because the values tell who is in a roster.
    pub forms: OpenForms<(LoginAttempt, String)>,
    limits: AttemptLimits,
}

impl Desk {
    /// Makes the desk with this address.
    ///
    /// # Errors
    /// Returns an error if the system has no random bytes.
    pub fn new(origin: &str, boundaries: Vec<DeskBoundary>) -> io::Result<Self> {
        let (forms, limits, logins) = Default::default();
        Ok(Self {
            origin: origin.to_owned(),
            boundaries,
            logins,
            form_key: FormKey::random()?,
            forms,
            limits,
        })
    }

    /// Returns the name and the port, as a browser sends them in `Host`.
    pub fn authority(&self) -> &str {
        self.origin.trim_start_matches("https://")
    }

    /// Returns the name of the desk. Passkeys belong to this name.
    pub fn host(&self) -> &str {
        self.authority().split(':').next().unwrap_or_default()
    }

    /// Returns the place of the boundary with this name. A desk with one boundary needs no name.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        let named = self
            .boundaries
            .iter()
            .position(|boundary| boundary.has_name(name));
        named.or_else(|| (self.boundaries.len() == 1).then_some(0))
    }

    /// Counts an attempt of an address.
    pub fn count(&self, peer: BrowserAddress) -> PageAnswer<()> {
        if self.limits.take(peer.0, Instant::now()) {
            return Ok(());
        }
        eprintln_quietly(&format!(
            "refused a request from {}: too many attempts",
            peer.0
        ));
        let what = "Too many attempts come from your address. Wait a minute, then try again.";
        Err(RefusedRequest::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many attempts",
            what,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_only_to_pages_of_this_desk() {
        for good in ["/", "/b/0/review/prp_0a1B", "/go/prod-1/prp_0"] {
            assert_eq!(LoginTarget::parse(good).expect("a path").as_str(), good);
        }
        let long = "/a".repeat(LONGEST);
        for bad in [
            "",
            "b",
            "//evil.example",
            "/\\evil.example",
            "/b//c",
            "/b?x=//",
            "/a b",
            "https://evil.example",
            &long,
        ] {
            assert!(LoginTarget::parse(bad).is_none(), "{bad}");
        }
    }
}
