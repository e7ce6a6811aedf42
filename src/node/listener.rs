//! The rule for the address of the service: other machines need TLS, or a proxy with TLS.

use crate::{Config, LISTEN};
use reading::FileProblem;

/// Returns the reason why the service may not listen on the configured address.
pub fn check(config: &Config) -> Option<FileProblem> {
    let listen = config.listen;
    if listen.ip().is_loopback() || config.tls.is_some() || config.insecure_behind_proxy {
        return None;
    }
    let message = format!(
        "{listen} is not a loopback address, so other machines could read tokens on their way: name a certificate and \
         its key under [tls], or listen on {LISTEN}; behind a proxy with TLS on another machine, set \
         `insecure_behind_proxy = true`"
    );
    Some(FileProblem::whole(&config.path, message))
}

/// Returns notes for the operator about the address.
pub fn notes(config: &Config) -> Vec<String> {
    let (listen, is_local) = (config.listen, config.listen.ip().is_loopback());
    let mut notes = Vec::new();
    if config.insecure_behind_proxy && config.tls.is_none() && !is_local {
        notes.push(format!(
            "insecure_behind_proxy is set: the service listens on {listen} without TLS, and anyone who can read this \
             traffic can read tokens; only the proxy may reach this address"
        ));
    } else if config.insecure_behind_proxy {
        let why = if is_local {
            "the service listens on the loopback"
        } else {
            "the service has a certificate"
        };
        notes.push(format!(
            "insecure_behind_proxy is set, but has no effect, because {why}: remove the setting"
        ));
    }
    if !is_local && config.hosts.is_empty() {
        notes.push(
            "`hosts` is empty, so requests under a host name get 403: add the names of the service to `hosts`, for \
             example the names in its certificate"
                .to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::read(
            Path::new("/c/countersign.toml"),
            &format!("name = \"a\"\n{text}"),
        )
        .expect("a configuration")
    }

    #[test]
    fn other_addresses_than_the_loopback_need_tls_or_a_proxy() {
        let pair = "[tls]\ncertificate = \"c\"\nkey = \"k\"\n";
        for good in [
            String::new(),
            "listen = \"127.1.2.3:1\"\n".to_owned(),
            "listen = \"[::1]:1\"\n".to_owned(),
            format!("listen = \"0.0.0.0:1\"\n{pair}"),
            "listen = \"10.0.0.1:1\"\ninsecure_behind_proxy = true\n".to_owned(),
        ] {
            assert_eq!(check(&config(&good)), None, "{good}");
        }
        for bad in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:127.0.0.1]:1"] {
            let problem = check(&config(&format!("listen = \"{bad}\"\n"))).expect(bad);
            for words in [bad, "[tls]", "insecure_behind_proxy = true"] {
                assert!(problem.message.contains(words), "{words}: {problem}");
            }
        }
    }

    #[test]
    fn each_start_reports_insecure_behind_proxy() {
        let of = |text: &str| {
            notes(&config(&format!("{text}insecure_behind_proxy = true\n"))).join("\n")
        };
        assert!(of("listen = \"0.0.0.0:1\"\nhosts = [\"a\"]\n").contains("without TLS"));
        assert!(of("").contains("no effect, because the service listens on the loopback"));
        assert_eq!(notes(&config("")), [""; 0]);
        assert!(
            notes(&config("listen = \"0.0.0.0:1\"\n"))
                .join("\n")
                .contains("add the names")
        );
    }
}
