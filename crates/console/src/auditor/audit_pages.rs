//! `countersign console --audit`: opens the auditor's pages.

use std::{path::PathBuf, sync::Arc};

use client::{
    AuditTable, CommandFailure, CommandResult, GlobalOptions, Terminal, TrustArgs, bundles_of,
    is_log, logs_below, named_log,
};
use tokio::sync::Semaphore;

use crate::{
    KeptTable, OpenForms, OpenOptions,
    auditor::routes::{AuditorPages, routes},
    serve_pages,
};

/// Makes each decision of the evidence again, and serves the table until a signal ends the program. If a log can't be
/// judged, for example without a trusted roster, a page says what to do.
///
/// # Errors
/// Returns an error if the evidence does not exist, if one of several places has none, if the roster can't be read, or if the
/// port is taken.
pub fn run(
    named: &[String],
    trust: &TrustArgs,
    open: OpenOptions,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> CommandResult {
    let trust = trust.find()?;
    let mut evidence = Vec::new();
    for place in named {
        let path = PathBuf::from(place);
        let places = match (bundles_of(std::slice::from_ref(&path)), logs_below(&path)) {
            // A directory without bundles, but with directories of logs, means all these logs.
            (Err(_), logs) if !logs.is_empty() => logs,
            // Bundles are uploaded into a table whose only place is an empty directory.
            (Err(nothing), _) if named.len() > 1 && !is_log(&path) => return Err(nothing),
            _ => vec![path],
        };
        for one in places {
            let one = one.to_string_lossy().into_owned();
            let log = named_log(&one, global)?;
            evidence.push((one, log));
        }
    }
    terminal.say("making each decision again ...");
    let progress = |done: usize, all: usize| {
        if done > 0 {
            terminal.say(format!("{done} of {all} files"));
        }
    };
    let table = AuditTable::of(&evidence, &trust, progress);
    drop(evidence);
    table.unjudged.iter().for_each(|log| terminal.say(log));
    let failed =
        |what: &str, error: std::io::Error| CommandFailure::unreachable(format!("{what}: {error}"));
    let kept = KeptTable::new(named.join(", "), trust, table)
        .map_err(|error| failed("the file for uploaded bundles can't be made", error))?;
    serve_pages(open, terminal, |door| {
        let pages = AuditorPages {
            kept,
            door,
            forms: OpenForms::default(),
            uploads: Semaphore::new(1),
        };
        routes(Arc::new(pages))
    })
}
