//! The address of the pages and the way in.
//!
//! The server listens on 127.0.0.1, and the host of its address has 128 random bits. A cookie ignores ports, so under
//! `127.0.0.1` another server of this machine would get it. Under `*.localhost` browsers ask no name server (RFC 6761,
//! section 6.3).
//!
//! A browser that does not know `*.localhost` uses the second address. There is no cookie under this address: each path
//! begins with 128 random bits. Its host is a random address of the loopback network 127.0.0.0/8 (RFC 1122, section 3.2.1.3),
//! because a page that the browser once read from `127.0.0.1` can leave a service worker there, which sees every later request
//! to the same host and port. Linux knows all these addresses. Other systems know only 127.0.0.1, so they have no second
//! address.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use documents::crypto::digest::hex;
use maud::{DOCTYPE, html};
use tokio::net::TcpListener;

use crate::web::secrets::{FormKey, equal, random};

/// Name of the cookie.
const COOKIE_NAME: &str = "countersign_pages";

/// Secrets of one server of pages.
#[derive(Debug)]
pub struct Door {
    /// Host with its port, as the browser sends it.
    host: String,
    /// Host of the second address, if this system has one.
    second_host: Option<String>,
    /// Beginning of all paths of the second address.
    prefix: String,
    /// Value of the cookie.
    cookie: String,
    /// Key of the seals in forms.
    pub form_key: FormKey,
    /// Secret of the link, until somebody uses it.
    link: Mutex<Option<String>>,
}

/// The address under which a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WayIn {
    /// The host with random bits. A cookie lets the browser in.
    Named,
    /// The second address. The beginning of the path lets the browser in.
    Numbered,
}

impl Door {
    /// Opens a port of 127.0.0.1, and the same port of a second address if this system has one. The port 0 means a free port.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub async fn open(port: u16) -> io::Result<(Self, Vec<TcpListener>)> {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = first.local_addr()?.port();
        let [a, b, c] = random()?;
        let second_address = SocketAddrV4::new(Ipv4Addr::new(127, a | 1, b, c.clamp(1, 254)), port);
        let second = if cfg!(target_os = "linux") { TcpListener::bind(second_address).await.ok() } else { None };
        let door = Self {
            host: format!("{}.localhost:{port}", hex(&random::<16>()?)),
            second_host: second.is_some().then(|| second_address.to_string()),
            prefix: format!("/{}", hex(&random::<16>()?)),
            cookie: hex(&random::<32>()?),
            form_key: FormKey::random()?,
            link: Mutex::new(Some(hex(&random::<16>()?))),
        };
        Ok((door, [first].into_iter().chain(second).collect()))
    }

    /// Returns the address that lets a browser in, until it was used once.
    #[must_use]
    pub fn link(&self) -> Option<String> {
        self.link_under(WayIn::Named)
    }

    /// Returns the same for a browser that does not know `*.localhost`, or `None` if this system has no second address. One
    /// use of either address is the only use.
    #[must_use]
    pub fn second_link(&self) -> Option<String> {
        self.link_under(WayIn::Numbered)
    }

    fn link_under(&self, way: WayIn) -> Option<String> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        Some(format!("http://{}/enter/{}", self.host_of(way)?, link.as_ref()?))
    }

    fn host_of(&self, way: WayIn) -> Option<&str> {
        match way {
            WayIn::Named => Some(&self.host),
            WayIn::Numbered => self.second_host.as_deref(),
        }
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
            html { head { meta charset="utf-8"; meta http-equiv="refresh" content=(format!("0;url={link}")); } body { p { a href=(link) { "Open the pages" } } @if let Some(second) = self.second_link() { p { a href=(second) { "Open the pages in a browser that can't find the server" } } } } }
        };
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(page.into_string().as_bytes())?;
        Ok(path)
    }

    /// Takes the secret of a link. Returns the first path behind this address, with the cookie that lets the browser in.
    pub(super) fn enter(&self, secret: &str, way: WayIn) -> Option<(String, Option<HeaderValue>)> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if !link.as_ref().is_some_and(|own| equal(own, secret)) {
            return None;
        }
        *link = None;
        match way {
            WayIn::Named => {
                let cookie = format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie);
                Some(("/".to_owned(), Some(HeaderValue::from_str(&cookie).ok()?)))
            }
            WayIn::Numbered => Some((format!("{}/", self.prefix), None)),
        }
    }

    /// Returns the address under which a request came, or `None` if it names another host.
    pub(super) fn way_of(&self, headers: &HeaderMap) -> Option<WayIn> {
        let mut hosts = headers.get_all(axum::http::header::HOST).iter();
        let (host, more) = (hosts.next()?, hosts.next());
        [WayIn::Named, WayIn::Numbered]
            .into_iter()
            .find(|way| more.is_none() && self.host_of(*way).is_some_and(|own| host.as_bytes() == own.as_bytes()))
    }

    /// Returns true if a request comes from one of the pages under this address.
    pub(super) fn is_origin(&self, headers: &HeaderMap, way: WayIn) -> bool {
        let own = self.host_of(way).map(|own| format!("http://{own}"));
        headers.get(axum::http::header::ORIGIN).map(HeaderValue::as_bytes) == own.as_deref().map(str::as_bytes)
            && own.is_some()
    }

    /// Returns the name of the host, without its port.
    pub(super) fn host_name(&self) -> &str {
        self.host.split(':').next().unwrap_or_default()
    }

    /// Returns the beginning of all paths of the second address.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the rest of a path of the second address, or `None` if the path does not begin with the secret.
    pub(super) fn below_prefix<'p>(&self, path: &'p str) -> Option<&'p str> {
        let (first, rest) = path.split_at_checked(self.prefix.len())?;
        (equal(&self.prefix, first) && rest.starts_with('/')).then_some(rest)
    }

    /// Returns true if a request has the cookie.
    pub(super) fn has_cookie(&self, headers: &HeaderMap) -> bool {
        cookie_of(headers, COOKIE_NAME).is_some_and(|value| equal(value, &self.cookie))
    }
}

/// Returns the value of the only cookie of this name.
pub(crate) fn cookie_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut own = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    own.next().filter(|_| own.next().is_none())
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
        assert!(door.enter("other", WayIn::Named).is_none());
        let (path, cookie) = door.enter(&secret, WayIn::Named).expect("the way in");
        let cookie = cookie.expect("a cookie");
        assert!(path == "/" && door.enter(&secret, WayIn::Numbered).is_none());
        assert!(door.link().is_none() && door.second_link().is_none());
        let pair = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        assert!(door.has_cookie(&headers(&[("cookie", &pair)])));
        assert!(!door.has_cookie(&headers(&[("cookie", &format!("{pair}; {pair}"))])), "two cookies of the name");
        assert!(!door.has_cookie(&headers(&[("cookie", "countersign_pages=")])));
    }

    #[tokio::test]
    async fn only_the_whole_secret_opens_a_path_of_the_second_address() {
        let (door, _listener) = Door::open(0).await.expect("a port");
        let prefix = door.prefix().to_owned();
        assert_eq!(door.below_prefix(&format!("{prefix}/b/0/log")), Some("/b/0/log"));
        for path in ["/", "", "/é", &prefix, &prefix[..20], &format!("{prefix}a/"), &format!("/{}/", "0".repeat(32))] {
            assert_eq!(door.below_prefix(path), None, "{path}");
        }
    }

    #[tokio::test]
    async fn a_seal_is_valid_for_one_path_and_one_server() {
        let (door, _first) = Door::open(0).await.expect("a port");
        let (other, _second) = Door::open(0).await.expect("a port");
        let seal = door.form_key.seal("/run", "a");
        assert!(door.form_key.is_sealed("/run", "a", &seal));
        assert!(!door.form_key.is_sealed("/ru", "na", &seal) && !door.form_key.is_sealed("/run", "b", &seal));
        assert!(!other.form_key.is_sealed("/run", "a", &seal));
    }
}
