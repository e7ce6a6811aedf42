//! The `log` command prints the signed head and copies the log.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, LogSource, Terminal, TrustArgs,
    export, remote::export::Export,
};
use verdict::SeenHead;

/// Print the signed head of the log, or copy the log.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign log checkpoint                     the signed head, to keep in another place
  countersign log export mirror/                 a copy of everything, with a read token or a rostered key
  countersign log export mirror/ --hashes        only the tree, without a token or key
  countersign log export old/ --from boundary/closed/0123456789abcdef
                                                 a log that a restore closed, or a backup; no boundary is asked

A copy is a static tlog-tiles directory (c2sp.org/tlog-tiles), and the files that its entries name are under blob/. \
Run the command again to fetch new entries. `countersign audit mirror/` reads the copy, and any web server can serve \
the copy as /log/.

An export never changes entries that the copy contains, and keeps every signed head under checkpoints/. The head \
must have the boundary's signature. The key comes from the rosters of the log, beginning with the roster that you \
trust, or else with the roster that the first export found. A later export also fetches later cosignatures. With \
--hashes, only --roster FILE gives a key. Without a key, an export only verifies that the log grows, and fetches no \
later cosignatures.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print the signed head
    Checkpoint {
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Copy the log into a directory, or update a copy
    Export {
        /// The directory, which is created if it is missing
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Copy only the hashes of the tree. Such a mirror can detect a fork and does not reveal what ran. The heads of
        /// this mirror are verified only with --roster FILE
        #[arg(long)]
        hashes: bool,
        /// Copy the log of this backup or closed log (`closed/…` in the boundary's private directory), without a
        /// request to a boundary
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        #[command(flatten)]
        trust: TrustArgs,
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// Prints the signed head or copies the log.
///
/// # Errors
/// Returns an error if the boundary cannot be reached or refuses, or if the directory contains another log.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    match &args.command {
        Command::Checkpoint { key } => {
            let place = LogSource::Served(Box::new(global.client(key)?));
            let head = place.head()?;
            let head = head
                .ok_or_else(|| CommandFailure::refused("the log is empty: there is no head yet"))?;
            if terminal.json {
                let seen = SeenHead::parse(&head, "the boundary").map_err(|why| {
                    CommandFailure::unreachable(format!("the boundary's head: {why}"))
                })?;
                terminal.object(json!({"size": seen.size, "checkpoint": head}))?;
            } else {
                terminal.put(head)?;
            }
        }
        Command::Export {
            directory,
            hashes,
            from,
            trust,
            key,
        } => {
            // Hashes alone do not show which roster belongs to this boundary, so use only a roster that the user names.
            let trust = if *hashes && trust.roster.is_empty() {
                Vec::new()
            } else {
                global.trust(trust).find()?
            };
            let place = match from {
                Some(stored) => global.stored_log(stored)?,
                None if *hashes => LogSource::Served(Box::new(global.client(key)?)),
                None => LogSource::Served(Box::new(global.reviewer(key, terminal)?)),
            };
            let done = export(&place, directory, *hashes, &trust, terminal)?;
            let Export {
                size,
                before,
                tiles,
                blobs,
                cosignatures,
                ..
            } = &done;
            let words = if *cosignatures > 0 {
                format!(
                    "nothing new: {size} entries; {cosignatures} more witness(es) have cosigned the head"
                )
            } else if size == before {
                format!("nothing new: {size} entries")
            } else {
                format!(
                    "{size} entries ({} new): {tiles} tiles and {blobs} blobs written",
                    size - before
                )
            };
            terminal.answer(&done, words)?;
        }
    }
    Ok(Exit::Done)
}
