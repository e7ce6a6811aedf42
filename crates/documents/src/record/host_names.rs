//! Names of objects of the host in a step: addresses and users.
//!
//! These checks read only the text and never ask the host, so that the boundary and the approver's program derive the same
//! profile.

use crate::ISOLATED;

/// Checks a lower-case host name with a port, for example `api.example.com:443`.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_address(text: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("the address {:?} {why}", shortened(text)));
    let Some((name, port)) = text.rsplit_once(':') else {
        return refuse("has no port: write name:port, for example \"api.example.com:443\"");
    };
    let digits = !port.is_empty()
        && port.len() <= 5
        && port.bytes().all(|c| c.is_ascii_digit())
        && !port.starts_with('0');
    if !digits || port.parse::<u16>().is_err() {
        return refuse("has no port between 1 and 65535: write name:port");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.contains('*') {
        return refuse("is a pattern: list each host by its full name");
    }
    if name.contains(':')
        || name
            .split('.')
            .all(|part| part.bytes().all(|c| c.is_ascii_digit()))
    {
        return refuse("is not a name: write name:port");
    }
    // Some resolvers interpret a name whose last part is a number as an IP address (0x7f.1).
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|c| c.is_ascii_digit()) || last.starts_with("0x");
    if name.len() > 253 || numeric || !name.split('.').all(label) {
        return refuse("is not a lower-case host name: write name:port");
    }
    Ok(())
}

/// Checks the address of a website as browsers write an origin: `https://NAME` or `https://NAME:PORT`, where the port 443 is
/// left out.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_origin(text: &str) -> Result<(), String> {
    let name = text
        .strip_prefix("https://")
        .ok_or_else(|| "the address must be https://NAME".to_owned())?;
    match name.strip_suffix(":443") {
        Some(plain) => Err(format!(
            "browsers leave the port 443 out: write https://{plain}"
        )),
        None if name.contains(':') => check_address(name),
        None => check_address(&format!("{name}:443")),
    }
}

/// Checks the name of a user of the host. Root is never allowed.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_user(text: &str) -> Result<(), String> {
    let first = |c: u8| c.is_ascii_lowercase() || c == b'_';
    let ok = (1..=32).contains(&text.len())
        && text.bytes().next().is_some_and(first)
        && text
            .bytes()
            .all(|c| first(c) || c.is_ascii_digit() || c == b'-' || c == b'.');
    if text == "root" {
        Err("no step runs as root: name another user".to_owned())
    } else if text == ISOLATED || !ok {
        Err(format!(
            "{:?} is not the name of a user: use lower-case letters, digits and _ - .",
            shortened(text)
        ))
    } else {
        Ok(())
    }
}

/// Returns the first characters of a text for a message.
pub fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_address_consists_of_a_name_and_a_port() {
        for good in [
            "api.example.com:443",
            "a:1",
            "xn--bcher-kva.example:8443",
            "db_1.internal:5432",
            "1a.example:1",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        let bad = "a a: a:0 a:65536 a:080 a:+1 A.example:1 a..b:1 .a:1 a.:1 -a:1 127.0.0.1:80 [::1]:80 \
                   ::1:80 2130706433:80 0x7f.1:80 a.0x7f:80 a.1:80 *.a:1 user@a:1 a/b:1 ä.example:1";
        for bad in bad.split(' ').chain(["", "a: 1", "a b:1", "a\n:1"]) {
            assert!(check_address(bad).is_err(), "{bad}");
        }
        assert!(check_address(&format!("{}:1", "a.".repeat(130))).is_err());
    }

    #[test]
    fn the_address_of_a_website_is_an_origin() {
        for good in [
            "https://desk.example",
            "https://desk.example:8443",
            "https://localhost:1",
        ] {
            assert_eq!(check_origin(good), Ok(()), "{good}");
        }
        for bad in
            "http://a.example https://a.example/ https://a.example:443 https:// https://A.example https://127.0.0.1 a"
                .split(' ')
        {
            assert!(check_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_step_runs_as_root() {
        for good in ["web", "www-data", "_apt", "a1.b"] {
            assert_eq!(check_user(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "root",
            "isolated",
            "0",
            "Web",
            "a b",
            "-a",
            &"a".repeat(33),
        ] {
            assert!(check_user(bad).is_err(), "{bad}");
        }
    }
}
