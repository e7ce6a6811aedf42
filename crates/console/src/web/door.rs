//! The address of the pages and the way in.
//!
//! The server listens on 127.0.0.1, and the host of its address has 128 random bits. A cookie ignores ports, so under
//! `127.0.0.1` another server of this machine would get it. Under `*.localhost` browsers ask no name server (RFC 6761,
//! section 6.3).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use documents::crypto::digest::hex;
use maud::{DOCTYPE, html};
use tokio::net::TcpListener;

/// Name of the cookie.
const COOKIE_NAME: &str = "countersign_pages";

/// Secrets of one server of pages.
#[derive(Debug)]
pub struct Door {
    /// Host with its port, as the browser sends it.
    host: String,
    /// Value of the cookie.
    cookie: String,
    /// Key of the seals in forms.
    form_key: [u8; 32],
    /// Secret of the link, until somebody uses it.
    link: Mutex<Option<String>>,
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

impl Door {
    /// Opens a port of 127.0.0.1. The port 0 means a free port.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub async fn open(port: u16) -> io::Result<(Self, TcpListener)> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let host = format!("{}.localhost:{}", hex(&random::<16>()?), listener.local_addr()?.port());
        let door = Self {
            host,
            cookie: hex(&random::<32>()?),
            form_key: random()?,
            link: Mutex::new(Some(hex(&random::<16>()?))),
        };
        Ok((door, listener))
    }

    /// Returns the origin of the pages, for example `http://….localhost:4000`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Returns the address that lets a browser in, until it was used once.
    #[must_use]
    pub fn link(&self) -> Option<String> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.as_ref().map(|secret| format!("{}/enter/{secret}", self.origin()))
    }

    /// Writes a file that only this person can read, and that leads a browser to the link. The argument list of a
    /// program is visible to all users of the machine, so it has the path of this file and never the link.
    ///
    /// # Errors
    /// Returns an error if the file can't be written, or if the link was used.
    pub fn write_link(&self, directory: &Path) -> io::Result<PathBuf> {
        let link = self.link().ok_or_else(|| io::Error::other("the link was used"))?;
        let path = directory.join("open.html");
        let page = html! {
            (DOCTYPE)
            html { head { meta charset="utf-8"; meta http-equiv="refresh" content=(format!("0;url={link}")); } body { a href=(link) { "Open the pages" } } }
        };
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(page.into_string().as_bytes())?;
        Ok(path)
    }

    /// Takes the secret of a link, and returns the cookie that lets the browser in.
    pub(super) fn enter(&self, secret: &str) -> Option<HeaderValue> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if !link.as_ref().is_some_and(|own| equal(own, secret)) {
            return None;
        }
        *link = None;
        HeaderValue::from_str(&format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie)).ok()
    }

    /// Returns true if a request has the exact host of this server.
    pub(super) fn is_host(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(axum::http::header::HOST).iter();
        hosts.next().is_some_and(|host| host.as_bytes() == self.host.as_bytes()) && hosts.next().is_none()
    }

    /// Returns true if a request comes from one of the pages.
    pub(super) fn is_origin(&self, headers: &HeaderMap) -> bool {
        headers.get(axum::http::header::ORIGIN).is_some_and(|origin| origin.as_bytes() == self.origin().as_bytes())
    }

    /// Returns true if a request has the cookie.
    pub(super) fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut own = pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value);
        own.next().is_some_and(|value| equal(value, &self.cookie)) && own.next().is_none()
    }

    /// Returns the seal of a form: it is valid for this path and these contents, and for no other server.
    #[must_use]
    pub fn seal(&self, path: &str, contents: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.form_key);
        hasher.update(&(path.len() as u64).to_le_bytes()).update(path.as_bytes()).update(contents.as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// Returns true if this server made the seal for this path and these contents.
    #[must_use]
    pub fn is_sealed(&self, path: &str, contents: &str, seal: &str) -> bool {
        equal(&self.seal(path, contents), seal)
    }
}

/// Compares two secrets. The time does not depend on their contents, because only their hashes are compared.
fn equal(own: &str, given: &str) -> bool {
    blake3::hash(own.as_bytes()) == blake3::hash(given.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[tokio::test]
    async fn a_link_lets_one_browser_in_once() {
        let (door, _listener) = Door::open(0).await.expect("a port");
        let link = door.link().expect("a link");
        let secret = link.rsplit('/').next().expect("a secret").to_owned();
        assert!(door.enter("other").is_none());
        let cookie = door.enter(&secret).expect("a cookie");
        assert!(door.enter(&secret).is_none() && door.link().is_none());
        let pair = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        assert!(door.has_cookie(&headers(&[("cookie", &pair)])));
        assert!(!door.has_cookie(&headers(&[("cookie", &format!("{pair}; {pair}"))])), "two cookies of the name");
        assert!(!door.has_cookie(&headers(&[("cookie", "countersign_pages=")])));
    }

    #[tokio::test]
    async fn a_seal_is_valid_for_one_path_and_one_server() {
        let (door, _first) = Door::open(0).await.expect("a port");
        let (other, _second) = Door::open(0).await.expect("a port");
        let seal = door.seal("/run", "a");
        assert!(door.is_sealed("/run", "a", &seal));
        assert!(!door.is_sealed("/ru", "na", &seal) && !door.is_sealed("/run", "b", &seal));
        assert!(!other.is_sealed("/run", "a", &seal));
    }
}
