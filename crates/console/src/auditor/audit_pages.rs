//! `countersign console --audit`: opens the auditor's pages.

use std::sync::Arc;

use client::commands::audit::audit_table::{AuditTable, NamedEvidence};
use client::commands::global::GlobalOptions;
use client::commands::log_source_options::open_log_without_key;
use client::home::trusted_rosters::TrustArgs;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::streams::Terminal;
use tokio::sync::Semaphore;

use crate::auditor::kept_table::KeptTable;
use crate::auditor::routes::{AuditorPages, routes};
use crate::web::one_use::OpenForms;
use crate::web::opened::{OpenOptions, serve_pages};

/// Makes each decision of the evidence again, and serves the table until a signal ends the program. If the evidence
/// can't be judged, for example without a trusted roster, a page says what to do.
///
/// # Errors
/// Returns an error if the evidence does not exist, if the roster can't be read, or if the port is taken.
pub fn run(
    place: &str,
    trust: &TrustArgs,
    open: OpenOptions,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    let trust = trust.find()?;
    let evidence = NamedEvidence::open(place, |named| open_log_without_key(named, global))?;
    terminal.say("making each decision again ...");
    let progress = |done: usize, all: usize| {
        if done > 0 {
            terminal.say(&format!("{done} of {all} files"));
        }
    };
    let (table, problem) = match AuditTable::of(&evidence, place, &trust, progress) {
        Ok(table) => (table, None),
        Err(failure) => (AuditTable::default(), Some(failure.message)),
    };
    drop(evidence);
    if let Some(problem) = &problem {
        terminal.say(problem);
    }
    let failed = |what: &str, error: std::io::Error| CommandFailure::new(Exit::Unreachable, format!("{what}: {error}"));
    let kept = KeptTable::new(place.to_owned(), trust, table, problem)
        .map_err(|error| failed("the file for uploaded bundles can't be made", error))?;
    serve_pages(open, terminal, |door| {
        let pages = AuditorPages { kept, door, forms: OpenForms::default(), uploads: Semaphore::new(1) };
        routes(Arc::new(pages))
    })
}
