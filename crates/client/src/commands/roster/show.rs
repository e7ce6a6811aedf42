//! The `roster show` command prints the people, their keys, and the digest to pin.

use std::path::PathBuf;

use crate::{
    CommandFailure, CommandResult, Exit, PrintableText, Terminal, fitted,
    home::roster_versions::versions_in, read_bounded, read_version,
};
use documents::{Envelope, ForeignKey, MAX_BUNDLE_BYTES, SshKey, joined};
use verdict::TrustedRoster;

/// Arguments of `roster show`.
#[derive(clap::Args)]
pub struct ShowArgs {
    /// A roster statement (JSON), or a draft. The default is the roster in force, if the files of the configuration contain it
    pub file: Option<PathBuf>,
    /// Take a version from this bundle, without verifying the bundle
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub bundle: Option<PathBuf>,
    /// The version to take from the bundle, by default the last one
    #[arg(long, value_name = "N", requires = "bundle")]
    pub version: Option<u64>,
    /// Print the approvers in the allowed_signers format of OpenSSH
    #[arg(long)]
    pub allowed_signers: bool,
}

impl ShowArgs {
    /// Reads the version that the arguments name. Returns `None` if they name none.
    ///
    /// # Errors
    /// Returns an error if a file can't be read or has no such version.
    pub fn read(&self) -> CommandResult<Option<(Envelope, TrustedRoster)>> {
        if let Some(file) = &self.file {
            let (envelope, roster, _) = read_version(file)?;
            return Ok(Some((envelope, roster)));
        }
        let Some(file) = &self.bundle else {
            return Ok(None);
        };
        let wrong = |what: &str| {
            CommandFailure::usage(format!("{} has no {what}", PrintableText::file(file)))
        };
        let versions = versions_in(&read_bounded(file, MAX_BUNDLE_BYTES)?);
        let versions = versions.ok_or_else(|| wrong("readable version of a roster"))?;
        let (first, last) = versions.numbers().into_inner();
        let version = self.version.unwrap_or(last);
        let found = versions.envelope(version).zip(versions.version(version));
        let missing = || {
            wrong(&format!(
                "version {version} of the roster: it has versions {first} to {last}"
            ))
        };
        found.map(Some).ok_or_else(missing)
    }
}

/// Prints a roster.
///
/// # Errors
/// Returns an error if the terminal cannot be written.
pub fn print(
    roster: &TrustedRoster,
    envelope: &Envelope,
    allowed_signers: bool,
    terminal: &Terminal,
) -> CommandResult {
    if allowed_signers {
        terminal.put(roster.allowed_signers())?;
    } else if terminal.json {
        terminal.object(envelope)?;
    } else {
        terminal.put(text(roster, terminal.table_width()))?;
    }
    Ok(Exit::Done)
}

/// Formats the roster for people.
fn text(roster: &TrustedRoster, width: usize) -> String {
    let tables = roster.tables();
    let guard = if roster.is_guarded() {
        format!(
            "the next version needs {} of {} approvers",
            tables.threshold,
            tables.approvers.len()
        )
    } else {
        "UNGUARDED: the next version needs no signature".to_owned()
    };
    let mut text = format!(
        "roster {}, version {}; {guard}\n\n",
        PrintableText::text(&tables.name),
        tables.version
    );
    let mut rows = vec![["WHO", "NAME", "GROUPS", "KEY"].map(str::to_owned)];
    let mut add = |who: &str, name: &str, groups: String, keys: &[String]| {
        if keys.is_empty() {
            rows.push([who, name, &groups, "no key"].map(str::to_owned));
        }
        for (at, line) in keys.iter().enumerate() {
            let key = match (SshKey::parse(line), ForeignKey::parse(line)) {
                (Ok(key), _) => {
                    format!(
                        "{}{}",
                        key.keyid(),
                        if key.is_security_key() {
                            " (security key)"
                        } else {
                            ""
                        }
                    )
                }
                (_, Ok(key)) => {
                    let kind = match key.passkey() {
                        Some(passkey) => format!("passkey of {}", passkey.host()),
                        None => format!(
                            "{}: can't be verified, so its signatures do not count",
                            key.kind()
                        ),
                    };
                    format!("{} ({kind})", key.keyid())
                }
                (Err(error), _) => error.to_string(),
            };
            let first = |text: &str| {
                if at == 0 {
                    text.to_owned()
                } else {
                    String::new()
                }
            };
            rows.push([first(who), first(name), first(&groups), key]);
        }
    };
    for (name, person) in &tables.approvers {
        let mut groups: Vec<String> = person.groups.iter().map(ToString::to_string).collect();
        if let Some(after) = person.valid_after {
            groups.push(format!("from {after}"));
        }
        if let Some(before) = person.valid_before {
            groups.push(format!("until {before}"));
        }
        add("approver", name.as_str(), groups.join(", "), &person.keys);
    }
    for (name, entry) in &tables.proposers {
        let owners = format!("of {}", joined(&entry.owners, ", "));
        add("proposer", name.as_str(), owners, &entry.keys);
    }
    for (name, entry) in &tables.operators {
        add("operator", name.as_str(), String::new(), &entry.keys);
    }
    for (name, entry) in &tables.boundaries {
        add("boundary", name.as_str(), String::new(), &entry.keys);
    }
    for (name, witness) in &tables.witnesses {
        let [name, url, key] = [name, &witness.url, &witness.vkey]
            .map(|text| PrintableText::text(text).as_str().to_owned());
        rows.push(["witness".to_owned(), name, format!("at {url}"), key]);
    }
    text += &fitted(&rows, width, 3);
    for (name, group) in &tables.groups {
        if let Some(presence) = group.presence {
            text += &format!("group {name}: only {presence} count\n");
        }
    }
    let digests = [
        ("policy", roster.policy().to_string()),
        ("digest to pin", roster.digest().to_string()),
    ];
    text += &format!(
        "\n{}",
        fitted(
            &digests.map(|(what, digest)| [what.to_owned(), digest]),
            width,
            1
        )
    );
    text
}
