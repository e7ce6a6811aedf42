//! The long form of `countersign --version`: the exact source, features and dependencies of this program.

use serde::Serialize;
use serde_json::json;

use crate::{CommandResult, Terminal};
use documents::{hex, sha256};

/// Facts about the build of this program.
#[derive(Debug, Serialize)]
pub struct BuildFacts {
    version: &'static str,
    commit: Option<String>,
    features: Vec<&'static str>,
    target: String,
    lock: String,
}

impl BuildFacts {
    /// Returns the facts. Only `src/main.rs` reads the commit, so that a new commit compiles this one small file again.
    pub fn new(commit: Option<&str>, features: &'static [&'static str]) -> Self {
        let is_commit = |text: &&str| {
            matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: commit.filter(is_commit).map(str::to_ascii_lowercase),
            features: features.to_vec(),
            target: target(),
            lock: lock_digest(),
        }
    }

    /// Prints the facts.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn print(&self, terminal: &Terminal) -> CommandResult {
        let words = format!(
            "countersign {}\ncommit    {}\nfeatures  {}\ntarget    {}\nlock      {}",
            self.version,
            self.commit.as_deref().unwrap_or("unknown"),
            self.features.join(", "),
            self.target,
            self.lock
        );
        terminal.answer(json!(self), words)
    }
}

/// Returns the digest of the file Cargo.lock in the source of this program. Cargo uses exactly these dependencies if
/// the build has the option `--locked`.
pub fn lock_digest() -> String {
    format!(
        "sha256:{}",
        hex(&sha256(include_bytes!("../../../../Cargo.lock")))
    )
}

/// Returns the processor, the system and the C library, for example `x86_64-linux-musl`.
fn target() -> String {
    let (processor, system) = (std::env::consts::ARCH, std::env::consts::OS);
    let library = match () {
        () if cfg!(target_env = "musl") => "-musl",
        () if cfg!(target_env = "gnu") => "-gnu",
        () => "",
    };
    format!("{processor}-{system}{library}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_a_digest_of_git_and_nothing_else() {
        let commit = |text: &str| BuildFacts::new(Some(text), &[]).commit;
        assert_eq!(commit(&"aB".repeat(20)), Some("ab".repeat(20)));
        assert_eq!(commit(&"0".repeat(64)), Some("0".repeat(64)));
        for text in [
            "",
            "main",
            "1234567",
            &"g".repeat(40),
            &format!("{}\n", "a".repeat(40)),
        ] {
            assert_eq!(commit(text), None, "{text:?}");
        }
        assert_eq!(BuildFacts::new(None, &[]).commit, None);
    }
}
