//! The `roster show` command prints the people, their keys, and the digest to pin.

use std::path::{Path, PathBuf};

use crate::{CommandFailure, Exit, PrintableText, Terminal, fitted, read_bounded};
use documents::{Base64, Envelope, ForeignKey, MAX_ROSTER_BYTES, SshKey, joined, json as strict};
use verdict::TrustedRoster;

/// Arguments of `roster show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// A roster statement (JSON). The default is the roster in force, if the files of the configuration contain it
    pub file: Option<PathBuf>,
    /// Print the approvers in the allowed_signers format of OpenSSH
    #[arg(long)]
    pub allowed_signers: bool,
}

/// Prints a roster.
///
/// # Errors
/// Returns an error if the terminal cannot be written.
pub fn print(
    (roster, envelope): (TrustedRoster, Envelope),
    allowed_signers: bool,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    if allowed_signers {
        terminal.put(roster.allowed_signers().as_bytes())?;
    } else if terminal.json {
        terminal.object(&envelope)?;
    } else {
        terminal.put(text(&roster, terminal.table_width()).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// Reads the roster in a file.
///
/// # Errors
/// Returns an error if the file contains no roster.
pub fn of_file(file: &Path) -> Result<(TrustedRoster, Envelope), CommandFailure> {
    let bytes = read_bounded(file, 2 * MAX_ROSTER_BYTES)?;
    let place = PrintableText::text(&file.to_string_lossy());
    let wrong = |error: &dyn std::fmt::Display| {
        CommandFailure::usage(format!(
            "{} is no roster statement: {error}; for roster.toml, name the configuration with --config",
            place.as_str()
        ))
    };
    let envelope: Envelope =
        strict::parse_as(&bytes, 2 * MAX_ROSTER_BYTES).map_err(|error| wrong(&error))?;
    let payload = Base64::Lenient
        .decode("/payload", &envelope.payload)
        .map_err(|error| wrong(&error))?;
    let roster = TrustedRoster::from_payload(&payload).map_err(|error| wrong(&error))?;
    Ok((roster, envelope))
}

/// Formats the roster for people.
fn text(roster: &TrustedRoster, width: usize) -> String {
    let tables = roster.tables();
    let guard = if roster.is_guarded() {
        format!(
            "the next version needs {} of {} approvers",
            tables.threshold,
            tables.approver.len()
        )
    } else {
        "UNGUARDED: the next version needs no signature".to_owned()
    };
    let mut text = format!(
        "roster {}, version {}; {guard}\n\n",
        PrintableText::text(&tables.name).as_str(),
        tables.version
    );
    let mut rows = vec![["WHO", "NAME", "GROUPS", "KEY"].map(str::to_owned)];
    let mut add = |who: &str, name: &str, groups: String, keys: &[String]| {
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
    for person in &tables.approver {
        let mut groups: Vec<String> = person.groups.iter().map(ToString::to_string).collect();
        if let Some(after) = person.valid_after {
            groups.push(format!("from {after}"));
        }
        if let Some(before) = person.valid_before {
            groups.push(format!("until {before}"));
        }
        add(
            "approver",
            person.name.as_str(),
            groups.join(", "),
            &person.keys,
        );
    }
    for entry in &tables.proposer {
        add(
            "proposer",
            entry.name.as_str(),
            format!("of {}", joined(&entry.owners, ", ")),
            &entry.keys,
        );
    }
    for person in &tables.operator {
        add(
            "operator",
            person.name.as_str(),
            String::new(),
            &person.keys,
        );
    }
    for entry in &tables.boundary {
        add("boundary", entry.name.as_str(), String::new(), &entry.keys);
    }
    for witness in &tables.witness {
        let [name, url, key] = [&witness.name, &witness.url, &witness.vkey]
            .map(|text| PrintableText::text(text).as_str().to_owned());
        rows.push(["witness".to_owned(), name, format!("at {url}"), key]);
    }
    text.push_str(&fitted(&rows, width, 3));
    for group in &tables.group {
        if let Some(presence) = group.presence {
            text.push_str(&format!(
                "group {}: only {} count\n",
                group.name,
                presence.words()
            ));
        }
    }
    let digests = [
        ("policy", roster.policy().to_string()),
        ("digest to pin", roster.digest().to_string()),
    ];
    text.push_str(&format!(
        "\n{}",
        fitted(
            &digests.map(|(what, digest)| [what.to_owned(), digest]),
            width,
            1
        )
    ));
    text
}
