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
use crate::web::door::Door;
use crate::web::guard::serve;
use crate::web::one_use::OpenForms;

/// Options of the auditor's pages. A command flattens them into its own options.
#[derive(Debug, Clone, clap::Args)]
pub struct AuditPages {
    /// Show the decisions of a bundle, of a directory with bundles, or of a log: a directory that `log export` wrote, or
    /// the address of a boundary or mirror. Each decision is made again on this machine. No key is loaded: a boundary
    /// needs a token
    #[arg(long, value_name = "FILE|DIR|URL")]
    pub audit: Option<String>,
    /// The roster that decides.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Makes each decision of the evidence again, and serves the table until a signal ends the program. If the evidence
/// can't be judged, for example without a trusted roster, a page says what to do.
///
/// # Errors
/// Returns an error if the evidence does not exist, if the roster can't be read, or if the port is taken.
pub fn run(
    place: &str,
    trust: &TrustArgs,
    port: u16,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    let trust = trust.find()?;
    let evidence = NamedEvidence::open(place, |named| open_log_without_key(named, global))?;
    terminal.say("making each decision again ...");
    let (table, problem) = match AuditTable::of(&evidence, place, &trust) {
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("the server of the pages can't be started", error))?;
    runtime.block_on(async {
        let (door, listener) = Door::open(port).await.map_err(|error| {
            CommandFailure::usage(format!("port {port} of 127.0.0.1 can't be opened: {error}; choose another --port"))
        })?;
        let door = Arc::new(door);
        terminal
            .line(&format!("open this address in a browser of this machine: {}", door.link().unwrap_or_default()))?;
        terminal.say("the address works once; Ctrl-C ends the command");
        let pages = AuditorPages { kept, door: door.clone(), forms: OpenForms::default(), uploads: Semaphore::new(1) };
        let served = serve(listener, door, routes(Arc::new(pages)), std::future::pending()).await;
        served.map_err(|error| failed("the server of the pages ended", error))
    })?;
    Ok(Exit::Done)
}
