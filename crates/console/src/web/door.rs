//! The address of the pages, the link that lets a browser in once, and the cookie of this browser.
//!
//! The server listens on 127.0.0.1, and the host of its address has 128 random bits. Cookies ignore ports: under the
//! host `127.0.0.1`, another server of this machine would get the cookie. For `*.localhost`, browsers ask no name
//! server (RFC 6761, section 6.3).

use std::{
    fs::File,
    io::{self, Write as _},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{
    page::frame::forwarding,
    web::secrets::{FormKey, equal, random},
};
use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, HOST, ORIGIN},
};
use documents::{hex, locked};
use tokio::net::TcpListener;

/// Name of the cookie.
const COOKIE_NAME: &str = "countersign_pages";

/// Secrets of one server of pages.
pub struct Door {
    /// Host with its port, as the browser sends it.
    host: String,
    /// Value of the cookie.
    cookie: String,
    /// Key of the seals in forms.
    pub form_key: FormKey,
    /// Secret of the link, until somebody uses it.
    link: Mutex<Option<String>>,
}

impl Door {
    /// Opens a port of 127.0.0.1. The port 0 means a free port.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub async fn open(port: u16) -> io::Result<(Self, TcpListener)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = listener.local_addr()?.port();
        let door = Self {
            host: format!("{}.localhost:{port}", hex(&random::<16>()?)),
            cookie: hex(&random::<32>()?),
            form_key: FormKey::random()?,
            link: Mutex::new(Some(hex(&random::<16>()?))),
        };
        Ok((door, listener))
    }

    /// Returns the address that lets a browser in, or `None` after its use.
    pub fn link(&self) -> Option<String> {
        let link = locked(&self.link);
        Some(format!("http://{}/enter/{}", self.host, link.as_ref()?))
    }

    /// Writes a file that only this person can read, and that leads a browser to the link. The argument list of a
    /// program is visible to all users of the machine, so it has the path of this file and never the link.
    ///
    /// # Errors
    /// Returns an error if the file can't be written, or if the link was used.
    pub fn write_link(&self, directory: &Path) -> io::Result<PathBuf> {
        let link = self
            .link()
            .ok_or_else(|| io::Error::other("the link was used"))?;
        let path = directory.join("open.html");
        let page = forwarding(&link, "Open the pages");
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(page.into_string().as_bytes())?;
        Ok(path)
    }

    /// Takes the secret of a link. Returns the cookie that lets the browser in.
    pub(super) fn enter(&self, secret: &str) -> Option<HeaderValue> {
        let mut link = locked(&self.link);
        if !link.as_ref().is_some_and(|own| equal(own, secret)) {
            return None;
        }
        *link = None;
        let cookie = format!(
            "{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict",
            self.cookie
        );
        HeaderValue::from_str(&cookie).ok()
    }

    /// Returns true if a request names the host of this server.
    pub(super) fn is_host(&self, headers: &HeaderMap) -> bool {
        is_only(headers, HOST, &self.host)
    }

    /// Returns true if a request comes from one of the pages.
    pub(super) fn is_origin(&self, headers: &HeaderMap) -> bool {
        is_only(headers, ORIGIN, &format!("http://{}", self.host))
    }

    /// Returns the name of the host, without its port.
    pub(super) fn host_name(&self) -> &str {
        self.host.split(':').next().unwrap_or_default()
    }

    /// Returns true if a request has the cookie.
    pub(super) fn has_cookie(&self, headers: &HeaderMap) -> bool {
        cookie_of(headers, COOKIE_NAME).is_some_and(|value| equal(value, &self.cookie))
    }
}

/// Returns true if the only header of this name has this value.
pub fn is_only(headers: &HeaderMap, name: HeaderName, own: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values
        .next()
        .is_some_and(|value| value.as_bytes() == own.as_bytes())
        && values.next().is_none()
}

/// Returns the value of the only cookie of this name.
pub fn cookie_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let pairs = values
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut own = pairs
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value);
    own.next().filter(|_| own.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    name.parse().expect("a name"),
                    value.parse().expect("a value"),
                )
            })
            .collect()
    }

    #[tokio::test]
    async fn a_link_lets_one_browser_in_once() {
        let (door, _listener) = Door::open(0).await.expect("a port");
        let link = door.link().expect("a link");
        let secret = link.rsplit('/').next().expect("a secret").to_owned();
        assert!(door.enter("other").is_none());
        let cookie = door.enter(&secret).expect("a cookie");
        assert!(door.enter(&secret).is_none() && door.link().is_none());
        let pair = cookie
            .to_str()
            .expect("text")
            .split(';')
            .next()
            .expect("a pair")
            .to_owned();
        assert!(door.has_cookie(&headers(&[("cookie", &pair)])));
        assert!(
            !door.has_cookie(&headers(&[("cookie", &format!("{pair}; {pair}"))])),
            "two cookies of the name"
        );
        assert!(!door.has_cookie(&headers(&[("cookie", "countersign_pages=")])));
    }

    #[tokio::test]
    async fn a_seal_is_valid_for_one_path_and_one_server() {
        let (door, _first) = Door::open(0).await.expect("a port");
        let (other, _second) = Door::open(0).await.expect("a port");
        let seal = door.form_key.seal("/run", "a");
        assert!(door.form_key.is_sealed("/run", "a", &seal));
        assert!(
            !door.form_key.is_sealed("/ru", "na", &seal)
                && !door.form_key.is_sealed("/run", "b", &seal)
        );
        assert!(!other.form_key.is_sealed("/run", "a", &seal));
    }
}
