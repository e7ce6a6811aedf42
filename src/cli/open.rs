//! The `open` command: a runbook in a browser on this machine.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc::sync_channel},
    time::Duration,
};

use crate::{content, surroundings};
use client::{
    BoundaryChoice, CommandFailure, CommandResult, GlobalOptions, Terminal, TrustArgs, fail_usage,
};
use console::{OpenForms, OpenOptions, ReachedBoundary, serve_pages};
use reading::{Policy, duration};
use workbench::{
    AuthorPreview, Board, HostSandbox, LocalSecrets, Notebook, OpenFiles, PageRules, PreviewRules,
    Project, ProposingNotebook, RuleArgs, SandboxArgs, SealedSteps, Signals, Workshop,
    keep_looking, propose_routes, routes,
};

/// Open a runbook in a browser on this machine, and run or propose its steps there
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign open deploy.md            one runbook
  countersign open runbooks             all runbooks of a directory
  countersign open deploy.md --browser  also starts the browser of this desktop
  countersign open deploy.md --watch    loads the page again after each save
  countersign open runbooks --watch     also shows new and removed files
  countersign open deploy.md --boundary prod    proposes the sealed steps of this boundary, and runs nothing here

The command prints an address, which works once, in one browser on this machine. A page shows the prose of the runbook, \
and each step with its script, a form for its parameters and a button. A step runs as with `countersign run`: under the \
same policy, in the same sandbox, and the questions of policy appear on the page. All steps of a page share a session; a \
button begins a new one, and a session that nobody uses for 30 minutes ends. One step runs at a time. The steps that you \
see are the steps that run, also if the file changes. The command loads no key, and a run leaves no receipt. Each step has a \
preview: the screen that approvers will see, and what policy asks or refuses. Ctrl-C ends the command.

With --boundary, each step has the button Propose, and nothing runs on this machine: options for policy and sandbox have no \
effect. The text comes from your file. Each step comes from the boundary, which has sealed it, and a step of your file that \
differs says so. The page shows who must sign, the output while the step runs, and the receipt, which is verified here. The \
command proposes with your token (--token-file, COUNTERSIGN_TOKEN), and signs nothing.")]
pub struct Args {
    /// A runbook, or a directory with runbooks
    #[arg(value_name = "FILE|DIR", value_hint = clap::ValueHint::AnyPath)]
    path: String,
    /// Also start the browser of this desktop (xdg-open)
    #[arg(long)]
    browser: bool,
    /// Load a page again after each save of its file, and show what changed
    #[arg(long)]
    watch: bool,
    /// Time after which the session of a page ends if no step runs: 90s, 30m, 2h
    #[arg(long, value_name = "TIME", default_value = "30m")]
    session_idle: String,
    /// Port of 127.0.0.1. The default is a free port
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// The source of a secret: NAME=env:VARIABLE or NAME=file:PATH; may be repeated
    #[arg(long, value_name = "NAME=SOURCE")]
    secret: Vec<String>,
    /// Also compare the steps in the preview with the sealed steps of this boundary. Name the file of a token with
    /// --token-file
    #[arg(long, value_name = "URL")]
    compare: Option<String>,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Serves the pages until a signal ends the program.
///
/// # Errors
/// Returns an error if the runbook or the policy is invalid, or if the port is taken.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let project = args.rules.project()?;
    let idle = duration(&args.session_idle)
        .map_err(|why| CommandFailure::usage(format!("--session-idle: {why}")))?;
    let idle = Duration::from_secs(idle.unsigned_abs());
    if !matches!(global.choice, BoundaryChoice::None) {
        return propose(args, global, &project, terminal);
    }
    let files = Arc::new(OpenFiles::open(&args.path, &project, args.watch)?);
    let secrets = LocalSecrets::of_options(&args.secret)?;
    let rules = PageRules::read(&args.rules, &project, &files)?;
    let preview = preview(args, global, &project)?;
    args.rules.say_what_is_off(terminal);
    let wanted = args.sandbox.wanted(args.rules.allows_all());
    let hold = HostSandbox::prepare(wanted, terminal)?;
    let signals = Signals::listen(hold.scratch())?;
    let board = Arc::new(Board::default());
    // At most one order waits, because the board admits one step at a time.
    let (orders, taken) = sync_channel(1);
    let workshop = Workshop {
        files: files.clone(),
        board: board.clone(),
        project,
        rules,
        hold,
        signals: signals.clone(),
        secrets: args.secret.clone(),
        idle,
    };
    let failed =
        |what: &str, error: std::io::Error| CommandFailure::unreachable(format!("{what}: {error}"));
    let worker = std::thread::Builder::new()
        .name("steps".to_owned())
        .spawn(move || workshop.work(&taken));
    worker.map_err(|error| failed("the thread for the steps can't be started", error))?;
    let (looked_at, shown) = (files.clone(), board.clone());
    let (directory, watches) = (directory_of(&args.path), args.watch);
    let looker = std::thread::Builder::new().name("saves".to_owned());
    let looker = looker.spawn(move || keep_looking(&looked_at, &shown, &directory, watches));
    looker.map_err(|error| {
        failed(
            "the thread that looks for saved files can't be started",
            error,
        )
    })?;
    let secrets = secrets.names().map(ToString::to_string).collect();
    let options = OpenOptions {
        browser: args.browser,
        port: args.port,
    };
    serve_pages(options, terminal, |door| {
        let forms = OpenForms::default();
        routes(Arc::new(Notebook {
            files,
            board,
            door,
            forms,
            orders,
            signals,
            secrets,
            watches,
            preview,
            refused: Mutex::default(),
        }))
    })
}

/// Serves the pages on which a person proposes the steps of a boundary. No sandbox is made, and no key is loaded.
fn propose(
    args: &Args,
    global: &GlobalOptions,
    project: &Project,
    terminal: &Terminal,
) -> CommandResult {
    let local = [
        ("--watch", args.watch),
        ("--secret", !args.secret.is_empty()),
        ("--compare", args.compare.is_some()),
    ];
    if let Some((option, _)) = local.into_iter().find(|(_, given)| *given) {
        let what =
            format!("{option} is for runs on this machine: leave it out, or leave out --boundary");
        return fail_usage(what);
    }
    let files = OpenFiles::open(&args.path, project, true)?;
    let token = |global: &GlobalOptions| {
        let missing =
            "--boundary needs a token: name its file with --token-file, or set COUNTERSIGN_TOKEN";
        global
            .token_client()?
            .ok_or_else(|| CommandFailure::usage(missing))
    };
    // A missing token and a wrong boundary are reported before a page opens.
    drop(token(global)?);
    let options = global.clone();
    let place = ReachedBoundary::new(global.clone(), &args.trust, move || token(&options));
    let open = OpenOptions {
        browser: args.browser,
        port: args.port,
    };
    serve_pages(open, terminal, |door| {
        propose_routes::routes(Arc::new(ProposingNotebook::new(files, place, door)))
    })
}

/// Returns the preview under the policy of the project and under the policy of a new boundary. With `--compare`, the
/// preview also shows differences from the sealed steps of that boundary.
fn preview(args: &Args, global: &GlobalOptions, project: &Project) -> CommandResult<AuthorPreview> {
    let usual = Policy::load(&content::policy(APPROVERS));
    let usual =
        usual.map_err(|_| CommandFailure::usage("the policy of a new boundary can't be read"))?;
    let usual = PreviewRules::of_policy(
        usual,
        "the policy that `countersign init` writes".to_owned(),
    );
    let found = project.policy(args.rules.policy.as_deref())?;
    let chosen = found
        .file
        .map(|file| PreviewRules::of_policy(found.policy, file.display().to_string()));
    let sealed = match &args.compare {
        None => None,
        Some(url) => {
            let client = GlobalOptions {
                url: url.clone(),
                ..global.clone()
            }
            .token_client()?;
            let missing = "--compare needs a token: name its file with --token-file";
            Some(SealedSteps::new(
                client.ok_or_else(|| CommandFailure::usage(missing))?,
            ))
        }
    };
    Ok(AuthorPreview::new(chosen, usual, sealed, surroundings()))
}

/// Number of approvers in the policy of a new boundary.
const APPROVERS: usize = 2;

/// Returns the directory whose files the pages show.
fn directory_of(path: &str) -> PathBuf {
    let path = Path::new(path);
    match path.parent() {
        Some(above) if !path.is_dir() => Path::new(".").join(above),
        _ => path.to_owned(),
    }
}
