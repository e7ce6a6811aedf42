//! The `open` command: a runbook in a browser on this machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::local::decide::{LocalRules, RuleArgs};
use crate::local::host_sandbox::HostSandbox;
use crate::local::local_log::LocalLog;
use crate::local::local_secrets::LocalSecrets;
use crate::local::project::Project;
use crate::local::sandbox_choice::SandboxArgs;
use crate::local::signals::Signals;
use crate::notebook::board::Board;
use crate::notebook::open_pages::open;
use crate::notebook::routes::{Notebook, routes};
use crate::notebook::worker::Workshop;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::streams::Terminal;
use console::web::browser;
use console::web::door::Door;
use console::web::guard::serve;
use console::web::one_use::OpenForms;

/// Open a runbook in a browser on this machine, and run its steps there
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign open deploy.md            one runbook
  countersign open runbooks             all runbooks of a directory
  countersign open deploy.md --browser  also starts the browser of this desktop

The command prints an address, which works once, in one browser on this machine. A page shows the prose of the runbook, \
and each step with its script, a form for its parameters and a button. A step runs as with `countersign run`: under the \
same policy, in the same sandbox, and the questions of policy appear on the page. All steps of a page share a session; a \
button begins a new one, and a session that nobody uses for 30 minutes ends. One step runs at a time. The steps that you \
see are the steps that run, also if the file changes. The command loads no key, so it keeps no receipts; to keep them, use \
`countersign run`. Ctrl-C ends the command.")]
pub struct Args {
    /// A runbook, or a directory with runbooks
    #[arg(value_name = "FILE|DIR")]
    path: String,
    /// Also start the browser of this desktop (xdg-open)
    #[arg(long)]
    browser: bool,
    /// Port of 127.0.0.1. The default is a free port
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// The source of a secret: NAME=env:VARIABLE or NAME=file:PATH; may be repeated
    #[arg(long, value_name = "NAME=SOURCE")]
    secret: Vec<String>,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// Serves the pages until a signal ends the program.
///
/// # Errors
/// Returns an error if the runbook or the policy is invalid, or if the port is taken.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let project = Project::here()?;
    let files = Arc::new(open(&args.path, &project)?);
    LocalSecrets::of_options(&args.secret)?;
    let mut rules = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        if let Ok(page) = &file.page {
            rules.insert(at, LocalRules::find(&args.rules, &project, &page.runbook)?.asked_elsewhere());
        }
    }
    if let Some(first) = rules.values().next() {
        first.say_what_is_off(terminal);
    }
    let own = LocalLog::of_process().ok();
    let wanted = args.sandbox.wanted(args.rules.allows_all());
    let hold = HostSandbox::prepare(wanted, own.as_ref().map(LocalLog::directory), terminal)?;
    let signals = Signals::listen(hold.scratch())?;
    let board = Arc::new(Board::new());
    // One order waits at most: the board admits one step at a time.
    let (orders, taken) = sync_channel(4);
    let workshop = Workshop {
        files: files.clone(),
        board: board.clone(),
        project,
        rules,
        hold,
        signals: signals.clone(),
        secrets: args.secret.clone(),
    };
    let failed = |what: &str, error: std::io::Error| CommandFailure::new(Exit::Unreachable, format!("{what}: {error}"));
    let worker = std::thread::Builder::new().name("steps".to_owned()).spawn(move || workshop.work(&taken));
    worker.map_err(|error| failed("the thread for the steps can't be started", error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| failed("the server of the pages can't be started", error))?;
    runtime.block_on(async {
        let (door, listener) = Door::open(args.port).await.map_err(|error| {
            CommandFailure::usage(format!(
                "port {} of 127.0.0.1 can't be opened: {error}; choose another --port",
                args.port
            ))
        })?;
        let door = Arc::new(door);
        terminal
            .line(&format!("open this address in a browser of this machine: {}", door.link().unwrap_or_default()))?;
        terminal.say("the address works once; Ctrl-C ends the command");
        let file = args.browser.then(|| browser::start(&door)).transpose();
        if let Err(error) = &file {
            terminal.say(&format!("note: the browser can't be started ({error}): open the address yourself"));
        }
        let forms = OpenForms::default();
        let notebook = Notebook { files, board, door: door.clone(), forms, orders, signals };
        let served = serve(listener, door, routes(Arc::new(notebook)), std::future::pending()).await;
        drop(file);
        served.map_err(|error| failed("the server of the pages ended", error))
    })?;
    Ok(Exit::Done)
}
