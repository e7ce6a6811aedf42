//! The people who are logged in. Each login has its own pages, with its own access, reviews and seals of forms.

use std::{collections::HashMap, io, sync::Mutex, time::Instant};

use axum::{
    Router,
    http::{HeaderMap, HeaderValue},
};
use documents::{Name, hex, locked};

use crate::web::{door::cookie_of, secrets::random};

/// Name of the cookie. Browsers take a cookie with this prefix only over TLS, from this host, and for all paths.
const COOKIE_NAME: &str = "__Host-countersign_desk";
/// Path of the form that ends a login.
pub const LOG_OUT: &str = "/logout";
/// Maximum number of logins of one person. The oldest login ends first.
const MOST_OF_ONE: usize = 4;

/// One login.
pub struct LoginSession {
    /// The person.
    pub person: Name,
    /// Place of the boundary in the list of the desk.
    pub boundary: usize,
    /// The pages of the person.
    pub pages: Router,
    /// End of the access.
    pub ends: Instant,
}

/// All logins, by the hashes of their cookies.
#[derive(Default)]
pub struct LoginSessions(Mutex<HashMap<blake3::Hash, LoginSession>>);

impl LoginSessions {
    /// Keeps a login, and returns its cookie.
    ///
    /// # Errors
    /// Returns an error if the system has no random bytes.
    pub fn open(&self, session: LoginSession, now: Instant) -> io::Result<HeaderValue> {
        let secret = hex(&random::<32>()?);
        let cookie = format!("{COOKIE_NAME}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict");
        let mut all = locked(&self.0);
        all.retain(|_, other| other.ends > now);
        let is_same = |other: &LoginSession| {
            (&other.person, other.boundary) == (&session.person, session.boundary)
        };
        let own = all.iter().filter(|(_, other)| is_same(other));
        let mut own: Vec<_> = own.map(|(cookie, other)| (other.ends, *cookie)).collect();
        own.sort_by_key(|(ends, _)| *ends);
        let too_many = (own.len() + 1).saturating_sub(MOST_OF_ONE);
        for (_, cookie) in own.into_iter().take(too_many) {
            all.remove(&cookie);
        }
        all.insert(blake3::hash(secret.as_bytes()), session);
        HeaderValue::from_str(&cookie).map_err(io::Error::other)
    }

    /// Returns the pages and the boundary of the login that a request belongs to.
    pub fn find(&self, headers: &HeaderMap, now: Instant) -> Option<(Router, usize)> {
        let cookie = blake3::hash(cookie_of(headers, COOKIE_NAME)?.as_bytes());
        let all = locked(&self.0);
        all.get(&cookie)
            .filter(|session| session.ends > now)
            .map(|session| (session.pages.clone(), session.boundary))
    }

    /// Ends the login that a request belongs to.
    pub fn end(&self, headers: &HeaderMap) {
        if let Some(cookie) = cookie_of(headers, COOKIE_NAME) {
            let mut all = locked(&self.0);
            all.remove(&blake3::hash(cookie.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_login_ends_with_its_time_or_after_newer_logins_of_the_person() {
        let (logins, began) = (LoginSessions::default(), Instant::now());
        let open = |person: &str, seconds: u64| {
            let (person, ends) = (
                person.parse().expect("a name"),
                began + Duration::from_secs(seconds),
            );
            let session = LoginSession {
                person,
                boundary: 0,
                pages: Router::new(),
                ends,
            };
            let cookie = logins.open(session, began).expect("a cookie");
            let pair = cookie
                .to_str()
                .expect("text")
                .split(';')
                .next()
                .expect("a pair")
                .to_owned();
            HeaderMap::from_iter([(axum::http::header::COOKIE, pair.parse().expect("a value"))])
        };
        let (bob, first) = (open("bob", 600), open("alice", 599));
        let later: Vec<_> = (0..3).map(|_| open("alice", 600)).collect();
        assert!(
            logins.find(&first, began).is_some(),
            "four logins are permitted"
        );
        let newest = open("alice", 600);
        assert!(logins.find(&first, began).is_none());
        assert!(
            [&bob, &newest]
                .into_iter()
                .chain(&later)
                .all(|one| logins.find(one, began).is_some())
        );
        assert!(
            logins
                .find(&bob, began + Duration::from_secs(600))
                .is_none(),
            "its time is over"
        );
        logins.end(&bob);
        assert!(
            logins.find(&bob, began).is_none() && logins.find(&HeaderMap::new(), began).is_none()
        );
    }
}
