//! The secrets of a planned run, and the checks before the run.

use documents::{SecretName, SecretValue};

/// A secret that a run gets.
pub struct PlannedSecret {
    /// The name of the secret.
    pub name: SecretName,
    /// The value.
    pub value: SecretValue,
    /// True if the run gets the file [`secret_path`]. Such a run needs its own root file system.
    pub as_file: bool,
    /// Variable of the environment with the value, or with the path of the file if the secret is a file.
    pub variable: Option<String>,
}

/// Returns the path of the file of a secret in a run.
pub fn secret_path(name: &SecretName) -> String {
    format!("/{SECRETS}/{}", name.as_str())
}

/// Directory of the secret files, relative to the root of a run.
pub(crate) const SECRETS: &str = "run/step/secrets";

/// Maximum size of all secrets of a run, in bytes.
pub(crate) const MAX_SECRETS_BYTES: u64 = 128 << 10;

/// Maximum size of all secrets in variables of a run, in bytes. The environment of a run also has the parameters.
const MAX_VARIABLES_BYTES: u64 = 32 << 10;

/// Returns the message about a secret file for a run on the host's root file system.
pub fn needs_own_root(name: &SecretName) -> String {
    format!(
        "the secret {} is a file, and a run gets such a file only in its own root file system: allow the layer namespaces \
         on this host, remove sandbox=off, or give the secret in a variable (env)",
        name.as_str()
    )
}

/// Returns the reason why a run can't get these secrets. No reason contains a value.
pub fn invalid(secrets: &[PlannedSecret], has_own_root: bool) -> Option<String> {
    for (at, secret) in secrets.iter().enumerate() {
        let name = secret.name.as_str();
        if secret.as_file && !has_own_root {
            return Some(needs_own_root(&secret.name));
        }
        if secret.as_file
            && secrets[..at]
                .iter()
                .any(|other| other.as_file && other.name == secret.name)
        {
            return Some(format!(
                "the run would get the file of the secret {name} twice"
            ));
        }
        if !secret.as_file && secret.value.expose().contains(&0) {
            return Some(format!(
                "the secret {name} contains a NUL byte, so no variable can contain it"
            ));
        }
    }
    let size = |secret: &PlannedSecret| secret.value.expose().len() as u64;
    let in_variables: u64 = secrets
        .iter()
        .filter(|secret| !secret.as_file)
        .map(size)
        .sum();
    if in_variables > MAX_VARIABLES_BYTES {
        return Some(format!(
            "the secrets in variables are larger than {MAX_VARIABLES_BYTES} bytes together: give the largest as a file"
        ));
    }
    let bytes: u64 = secrets.iter().map(size).sum();
    (bytes > MAX_SECRETS_BYTES)
        .then(|| format!("the secrets of the run are larger than {MAX_SECRETS_BYTES} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_a_run_cannot_get_are_refused_without_their_values() {
        let secret = |as_file, value: &[u8]| PlannedSecret {
            name: "db".parse().expect("a name"),
            value: SecretValue::new(value.to_vec().into()),
            as_file,
            variable: None,
        };
        let large = vec![b'x'; 40 << 10];
        assert_eq!(
            invalid(
                &[secret(true, b"a\0canary"), secret(false, b"canary")],
                true
            ),
            None
        );
        for (secrets, has_own_root, words) in [
            (vec![secret(true, b"canary")], false, "own root file system"),
            (
                vec![secret(true, b"canary"), secret(true, b"canary")],
                true,
                "twice",
            ),
            (vec![secret(false, b"a\0canary")], true, "NUL byte"),
            (
                vec![secret(false, &large)],
                true,
                "give the largest as a file",
            ),
            (
                vec![
                    secret(true, &large),
                    secret(false, &[b'y'; 32 << 10]),
                    secret(false, b""),
                ],
                true,
                "",
            ),
            (
                vec![secret(true, &vec![b'x'; 129 << 10])],
                true,
                "larger than 131072 bytes",
            ),
        ] {
            let found = invalid(&secrets, has_own_root);
            assert_eq!(found.is_some(), !words.is_empty(), "{words}: {found:?}");
            let text = found.unwrap_or_default();
            assert!(text.contains(words) && !text.contains("canary"), "{text}");
        }
    }
}
