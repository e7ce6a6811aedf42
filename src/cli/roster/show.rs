//! The `roster show` command prints the people, their keys, and the digest to pin.

use std::path::Path;

use crate::cli::configured::ConfigArgs;
use crate::crypto::digest::RosterDigest;
use crate::crypto::json as strict;
use crate::crypto::ssh_key::{ForeignKey, SshKey};
use crate::home::named_file::read_bounded;
use crate::local::problems::problems;
use crate::node::control::{self, ControlReply, ControlRequest};
use crate::node::file_problem::{FileProblem, Problems};
use crate::node::files::{read_policy, read_roster};
use crate::node::{roster_succession, rosters};
use crate::record::envelope::{Base64, Envelope};
use crate::record::roster::MAX_ROSTER_BYTES;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::Terminal;
use crate::terminal::table::aligned;
use crate::trust::trusted_roster::TrustedRoster;

/// Prints a roster.
///
/// # Errors
/// Returns all errors of the roster.
pub fn run(
    config: &ConfigArgs,
    file: Option<&Path>,
    allowed_signers: bool,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    let (roster, envelope) = match file {
        Some(file) => of_file(file)?,
        None => of_configuration(config, terminal)?,
    };
    if allowed_signers {
        terminal.put(roster.allowed_signers().as_bytes())?;
    } else if terminal.json {
        terminal.object(&envelope)?;
    } else {
        terminal.put(text(&roster).as_bytes())?;
    }
    Ok(Exit::Done)
}

fn of_file(file: &Path) -> Result<(TrustedRoster, Envelope), CommandFailure> {
    let bytes = read_bounded(file, 2 * MAX_ROSTER_BYTES)?;
    let place = PrintableText::text(&file.to_string_lossy());
    let wrong = |error: &dyn std::fmt::Display| {
        CommandFailure::usage(format!(
            "{} is no roster statement: {error}; for roster.toml, name the configuration with --config",
            place.as_str()
        ))
    };
    let envelope: Envelope = strict::parse_as(&bytes, 2 * MAX_ROSTER_BYTES).map_err(|error| wrong(&error))?;
    let payload = Base64::Lenient.decode("/payload", &envelope.payload).map_err(|error| wrong(&error))?;
    let roster = TrustedRoster::from_payload(&payload).map_err(|error| wrong(&error))?;
    Ok((roster, envelope))
}

/// Returns the roster in force, as the files or the running service show it. If the boundary has not started yet, the
/// roster is read from `roster.toml`.
fn of_configuration(config: &ConfigArgs, terminal: &Terminal) -> Result<(TrustedRoster, Envelope), CommandFailure> {
    let config = config.load()?;
    let one = |problem: FileProblem| problems(problem.into());
    let all = |found| problems(Problems::new(found));
    let mut in_force = None;
    // The sealed roster is in force, not the roster in the files. A running boundary reports the version of the
    // sealed roster, and whether the files differ.
    if let Ok(Some(ControlReply::Ok(status))) = control::ask(&config.socket(), &ControlRequest::Status) {
        for note in status["notes"].as_array().into_iter().flatten().filter_map(|note| note.as_str()) {
            terminal.say(&format!("note: {note}"));
        }
        in_force = status["roster"]["digest"].as_str().and_then(|digest| digest.parse::<RosterDigest>().ok());
    }
    if let Some(waits) = roster_succession::waiting(&config) {
        terminal.say(&waits);
    }
    if let Some(chain) = rosters::chain(&config).map_err(one)? {
        if let Some(known) = in_force.and_then(|digest| chain.by_digest(&digest))
            && known.version() < chain.last().version()
        {
            terminal.say(&format!(
                "version {} is signed: the next start of the boundary seals it, or reports why not",
                chain.last().version()
            ));
        }
        let all = chain.versions().iter().zip(chain.envelopes());
        let mut wanted = all.filter(|(roster, _)| in_force.is_none_or(|digest| digest == roster.digest()));
        if let Some((roster, envelope)) = wanted.next_back() {
            if in_force.is_none() && roster.version() > 1 {
                terminal
                    .say("the boundary does not serve: this is the newest signed version, which the next start seals");
            }
            return Ok((roster.clone(), envelope.clone()));
        }
    }
    if let Some(digest) = in_force {
        let place = rosters::directory(&config);
        return Err(CommandFailure::usage(format!(
            "the roster in force is {digest}, and no file in {} contains it: start the boundary again, because the \
             start writes the sealed versions there",
            place.display()
        )));
    }
    let written = read_roster(&config).map_err(all)?;
    let policy = read_policy(&config).map_err(all)?;
    if written.version() != 1 {
        return Err(CommandFailure::usage(format!(
            "version {} of the roster has no statement in {}: write the statement with `countersign roster draft`",
            written.version(),
            rosters::directory(&config).display()
        )));
    }
    let roster = written.state(None, policy.digest()).map_err(|error| {
        CommandFailure::usage(format!("{}: {error}", PrintableText::text(&config.roster.to_string_lossy()).as_str()))
    })?;
    let envelope = Envelope::new(roster.payload(), Vec::new());
    Ok((roster, envelope))
}

/// Formats the roster for people.
#[must_use]
pub fn text(roster: &TrustedRoster) -> String {
    let tables = roster.tables();
    let guard = if roster.is_guarded() {
        format!("the next version needs {} of {} approvers", tables.threshold, tables.approver.len())
    } else {
        "UNGUARDED: the next version needs no signature".to_owned()
    };
    let mut text =
        format!("roster {}, version {}; {guard}\n\n", PrintableText::text(&tables.name).as_str(), tables.version);
    let mut rows = vec![["WHO", "NAME", "GROUPS", "KEY"].map(str::to_owned)];
    let mut add = |who: &str, name: &str, groups: String, keys: &[String]| {
        for (at, line) in keys.iter().enumerate() {
            let key = match (SshKey::parse(line), ForeignKey::parse(line)) {
                (Ok(key), _) => {
                    format!("{}{}", key.keyid(), if key.is_security_key() { " (security key)" } else { "" })
                }
                (_, Ok(key)) => {
                    format!("{} ({}: can't be verified, so its signatures do not count)", key.keyid(), key.kind())
                }
                (Err(error), _) => error.to_string(),
            };
            let first = |text: &str| if at == 0 { text.to_owned() } else { String::new() };
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
        add("approver", person.name.as_str(), groups.join(", "), &person.keys);
    }
    for entry in &tables.proposer {
        let owners: Vec<&str> = entry.owners.iter().map(|name| name.as_str()).collect();
        add("proposer", entry.name.as_str(), format!("of {}", owners.join(", ")), &entry.keys);
    }
    for person in &tables.operator {
        add("operator", person.name.as_str(), String::new(), &person.keys);
    }
    for entry in &tables.boundary {
        add("boundary", entry.name.as_str(), String::new(), &entry.keys);
    }
    for witness in &tables.witness {
        let [name, url, key] =
            [&witness.name, &witness.url, &witness.vkey].map(|text| PrintableText::text(text).as_str().to_owned());
        rows.push(["witness".to_owned(), name, format!("at {url}"), key]);
    }
    text.push_str(&aligned(&rows));
    for group in &tables.group {
        if let Some(presence) = group.presence {
            text.push_str(&format!("group {}: only {} count\n", group.name, presence.words()));
        }
    }
    text.push_str(&format!("\npolicy         {}\ndigest to pin  {}\n", roster.policy(), roster.digest()));
    text
}
