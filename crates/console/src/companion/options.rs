//! The command `console` and its options.

use std::path::PathBuf;
use std::sync::Arc;

use client::commands::global::{BoundaryChoice, GlobalOptions};
use client::home::boundaries::BoundaryList;
use client::home::trusted_rosters::TrustArgs;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::streams::Terminal;

use crate::companion::reached::ReachedBoundary;
use crate::companion::routes::{Companion, routes};
use crate::companion::signing::Signing;
use crate::web::browser::start;
use crate::web::door::Door;
use crate::web::guard::serve;

/// Decide in a browser on this machine: inbox, review, signature, denial, live output, and receipts verified here
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign console                       every boundary of your list (`countersign boundary`)
  countersign console --boundary prod       one of them
  countersign console --open --key alice.pub    with this key, and starts the browser of this desktop

The command prints an address, which works once, in one browser on this machine. A review page shows the text of \
`countersign review`, from the same checks. To sign, type the last 8 digits of the digest: the program signs the bytes that \
the page showed, with your key file, ssh-agent or security key. A page is valid for 10 minutes, and works once. The pages \
read the keys and the trusted rosters of `countersign approve`. Ctrl-C ends the command.")]
pub struct Args {
    /// Also start the browser of this desktop
    #[arg(long)]
    open: bool,
    /// Port of 127.0.0.1. The default is a free port
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// A key that signs: a PKCS#8 file, an OpenSSH key, or the .pub file of a key in ssh-agent or on a security key; may be
    /// repeated. The default is countersign/key.pem in your configuration directory, or else the ssh-ed25519 keys in ~/.ssh
    #[arg(long, env = "COUNTERSIGN_KEY", value_name = "FILE")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    // The option `--audit FILE|DIR|URL` belongs here, and `run` below begins with its branch: the pages of the auditor
    // (`crate::auditor`) need neither `Signing` nor a boundary.
}

/// Serves the pages until a signal ends the program.
///
/// # Errors
/// Returns an error if the list of boundaries can't be read, if a named key can't be used, or if the port is taken.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let signing = Arc::new(Signing::new(&args.key));
    if !args.key.is_empty() {
        // A wrong name is reported before a page opens.
        drop(signing.keys()?);
    }
    let options = chosen(global)?;
    let places = options.into_iter().map(|one| Arc::new(ReachedBoundary::new(one, &args.trust, signing.clone())));
    let places: Vec<_> = places.collect();
    let failed = |what: &str, error: std::io::Error| CommandFailure::new(Exit::Unreachable, format!("{what}: {error}"));
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
        let file = args.open.then(|| start(&door)).transpose();
        if let Err(error) = &file {
            terminal.say(&format!("note: the browser can't be started ({error}): open the address yourself"));
        }
        let companion = Companion::new(places, signing, door.clone());
        let served = serve(listener, door, routes(Arc::new(companion)), std::future::pending()).await;
        drop(file);
        served.map_err(|error| failed("the server of the pages ended", error))
    })?;
    Ok(Exit::Done)
}

/// Returns the options for each boundary of the inbox: the boundary of the options or the environment, or else the list.
fn chosen(global: &GlobalOptions) -> Result<Vec<GlobalOptions>, CommandFailure> {
    let one = match &global.choice {
        BoundaryChoice::One(_) => true,
        BoundaryChoice::All => false,
        BoundaryChoice::None => global.given.address || BoundaryList::of_process()?.boundaries.is_empty(),
    };
    if one { Ok(vec![global.clone()]) } else { global.for_all_listed() }
}
