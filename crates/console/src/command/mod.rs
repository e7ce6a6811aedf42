//! The command `console`: the pages of an approver, those of an auditor, or those of a desk.

use std::path::PathBuf;

use client::{CommandResult, GlobalOptions, Terminal, TrustArgs};

use crate::{
    OpenOptions,
    auditor::audit_pages,
    companion::options,
    desk::{options as desk, options::DeskOptions},
};

/// Decide in a browser on this machine, or check evidence there
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign console                       every boundary of your list (`countersign boundary`)
  countersign console --boundary prod       one of them
  countersign console --open --key alice.pub    with this key, and starts the browser of this desktop
  countersign console --audit bundles/ --roster roster.json   one table of all bundles in a directory
  countersign console --audit mirror/       a directory that `countersign log export` wrote
  countersign console --audit mirrors/ bundles/    several places, with the boundary of each row
  countersign console --desk --host desk.example.com --certificate fullchain.pem --certificate-key privkey.pem

The command prints an address, which works once, in one browser on this machine. A review page shows the text of \
`countersign review`, from the same checks. To sign, type the last 8 digits of the digest: the program signs the bytes that \
the page showed, with your key file, ssh-agent or security key. A page is valid for 10 minutes, and works once. The pages \
read the keys and the trusted rosters of `countersign approve`.

With --audit, no key is loaded and nothing can be signed. Each decision is made again here, with the code of `verify` and \
`audit`, and no file leaves this machine. Ctrl-C ends the command.

With --desk, the same pages are for phones, over TLS. No key is loaded: the passkeys of people sign in their browsers.")]
pub struct Args {
    /// Show the decisions of a bundle, of a directory with bundles, or of a log: a directory that `log export` wrote, or the
    /// address of a boundary or a mirror. A boundary needs a token. Several places, or a directory of logs, are one table
    #[arg(long, value_name = "FILE|DIR|URL", num_args = 1..)]
    audit: Vec<String>,
    /// A key that signs: a PKCS#8 file, an OpenSSH key, or the .pub file of a key in ssh-agent or on a security key; may be
    /// repeated. The default is countersign/key.pem in your configuration directory, or else the ssh-ed25519 keys in ~/.ssh
    #[arg(long, env = "COUNTERSIGN_KEY", value_name = "FILE")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    open: OpenOptions,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    desk: DeskOptions,
}

/// Serves the pages until a signal ends the program.
///
/// # Errors
/// Returns an error if the list of boundaries can't be read, if a named key can't be used, if the evidence does not
/// exist, or if the port is taken.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    match &args.audit[..] {
        _ if args.desk.desk => desk::run(&args.desk, &args.trust, global, terminal),
        [_, ..] => audit_pages::run(&args.audit, &args.trust, args.open, global, terminal),
        [] => options::run(&args.key, &args.trust, args.open, global, terminal),
    }
}
