//! The `boundary` command keeps the list of a person's boundaries.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{
    BoundaryList, ChosenTrust, Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs,
    ListedBoundary, Terminal, TrustArgs, absolute_path, absolute_roster, fail_usage, fitted,
    roster_in_force, trust_advice, with_header,
};
use documents::{Code, SealDigest, SshKey};

/// Keep a list of your boundaries, for `--boundary`, `inbox` and `console`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign boundary add prod --url https://boundary.example --roster sha256:…
  countersign inbox --boundary prod
  countersign inbox --boundary all

The list is the file countersign/boundaries.toml in your configuration directory, with mode 0600. It has no secret, only \
the paths of files.")]
pub struct Args {
    #[command(subcommand)]
    command: BoundaryCommand,
}

#[derive(clap::Subcommand)]
enum BoundaryCommand {
    /// Add the boundary of --url, with its roster, and with the files of --cacert, --cert, --cert-key and --token-file
    #[command(after_help = "Examples:
  countersign boundary add prod --url https://boundary.example --roster sha256:…   the digest from the roster's maintainer
  countersign boundary add here                                                    the boundary on this machine

The command reads the roster of the boundary, and adds the boundary only if you trust this roster. The list then states \
the id of the boundary: a boundary with another id is refused. Without a token and a key, as on the host of a desk, the command \
reads only the id, and needs the file of a roster whose people the boundary knows.")]
    Add {
        /// Your name for the boundary
        name: String,
        #[command(flatten)]
        trust: TrustArgs,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Print the list
    List,
    /// Remove a boundary from the list
    Remove {
        /// The name in the list
        #[arg(add = super::completions::boundaries())]
        name: String,
    },
}

/// Changes or prints the list.
///
/// # Errors
/// Returns an error if the list can't be read or written, or if the added boundary does not answer or is not trusted.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let mut list = BoundaryList::of_process()?;
    match &args.command {
        BoundaryCommand::Add { name, trust, key } => {
            let one = trusted(name, global, trust, key, terminal)?;
            list.add(one.clone())?;
            let id = one.id.map_or(String::new(), |id| id.to_string());
            terminal.answer(&one, format!("added {}: {}, id {id}", one.name, one.url))?;
        }
        BoundaryCommand::List if terminal.json => {
            terminal.object(json!({ "boundaries": list.boundaries }))?
        }
        BoundaryCommand::List => {
            let cells = list.boundaries.into_iter().map(|one| {
                let roster = one
                    .roster
                    .unwrap_or_else(|| "from your configuration directory".to_owned());
                [
                    one.name,
                    one.url,
                    roster,
                    one.id.map_or("not stated".to_owned(), |id| id.to_string()),
                ]
            });
            let rows = with_header(["NAME", "URL", "ROSTER", "ID"], cells);
            terminal.put(fitted(&rows, terminal.table_width(), 2))?;
        }
        BoundaryCommand::Remove { name } => {
            list.remove(name)?;
            terminal.say(format!("removed {name}"));
        }
    }
    Ok(Exit::Done)
}

/// Reads the boundary and returns its entry, if this person trusts the roster of the boundary.
fn trusted(
    name: &str,
    global: &GlobalOptions,
    trust: &TrustArgs,
    key: &KeyArgs,
    terminal: &Terminal,
) -> CommandResult<ListedBoundary> {
    if global.token.is_some() && global.given.on_line.contains("token") {
        return fail_usage(
            "the list has no secrets: write the token to a file of mode 0600, and give the file with --token-file",
        );
    }
    let client = global.client(key)?;
    let pinned = trust.find()?;
    let id = match roster_in_force(&client, &pinned) {
        Err(failure) if failure.has_code(Code::Unauthenticated) && !client.has_credentials() => {
            let id = id_without_credentials(&client, &pinned).ok_or(failure)?;
            terminal.say("note: without a token and a key, the roster in force was not read: each review compares it");
            id
        }
        read => {
            let (registry, roster) = read?;
            // A trusted file that only has the name of this boundary says nothing about the roster in force.
            if roster
                .trusted()
                .is_none_or(|trusted| trusted.digest() != registry.seal.roster)
            {
                let advice = trust_advice(Some(registry.seal.roster), "boundary");
                return Err(CommandFailure::no_trust(format!(
                    "{name} was not added: you trust no roster for this boundary; {advice}"
                )));
            }
            registry.boundary.id
        }
    };
    let tls = &global.tls;
    Ok(ListedBoundary {
        name: name.to_owned(),
        url: global.url.trim_end_matches('/').to_owned(),
        id: Some(id),
        roster: match &trust.roster[..] {
            [] => None,
            [one] => Some(absolute_roster(one)?),
            _ => {
                return fail_usage(
                    "the list names one roster for each boundary: give --roster once",
                );
            }
        },
        ca: absolute(tls.cacert.as_deref())?,
        certificate: absolute(tls.cert.as_deref())?,
        key: absolute(tls.cert_key.as_deref())?,
        token_file: absolute(global.token_file.as_deref())?,
        proxy: tls.proxy.clone(),
    })
}

/// Returns the id in the challenge for the first key of the trusted rosters that the boundary knows.
fn id_without_credentials(client: &Client, pinned: &[ChosenTrust]) -> Option<SealDigest> {
    let rosters = pinned.iter().filter_map(|chosen| chosen.pinned.newest());
    let mut keys = rosters.flat_map(|roster| {
        let lines = roster.approvers().flat_map(|approver| &approver.keys);
        let own = lines
            .filter_map(|line| SshKey::parse(line).ok())
            .map(|key| key.keyid());
        own.chain(roster.foreign_keys().iter().map(|(_, key)| key.keyid()))
    });
    keys.find_map(|key| client.challenge(key).ok())
        .map(|(_, id)| id)
}

fn absolute(path: Option<&Path>) -> CommandResult<Option<PathBuf>> {
    path.map(absolute_path).transpose()
}
