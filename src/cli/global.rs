//! What every command takes: the boundary's address, its token, and whether to print JSON.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::home::directories::Home;
use crate::home::keys::KeyArgs;
use crate::home::named_file::read_bounded;
use crate::remote::client::{Address, Client, DEFAULT_URL, Secret};
use crate::terminal::exit::CommandFailure;
use crate::terminal::streams::{Terminal, eprintln_quietly};

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct GlobalOptions {
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// The boundary's address
    #[arg(long, global = true, env = "COUNTERSIGN_URL", default_value = DEFAULT_URL, value_name = "URL")]
    pub url: String,
    /// A token; others on this machine may see it in the list of processes, so prefer the variable or a file
    #[arg(long, global = true, env = "COUNTERSIGN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<Secret>,
    /// A file of mode 0600 with a token; for a boundary on this machine, countersign/token in your configuration directory is
    /// looked for
    #[arg(long, global = true, env = "COUNTERSIGN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl GlobalOptions {
    /// A client of the boundary. Without a token one of the user's keys opens reading.
    ///
    /// # Errors
    /// When address or token file can't be used.
    pub fn client(&self, key: &KeyArgs) -> Result<Client, CommandFailure> {
        let address = Address::parse(&self.url)?;
        let token = self.token(&address)?;
        if token.as_ref().is_some_and(|token| !token.is_plain()) {
            return Err(CommandFailure::usage(
                "the token that was given is none: a token is `cst_` and 43 letters, digits, `-` and `_`; it comes from --token, \
                 --token-file, COUNTERSIGN_TOKEN, COUNTERSIGN_TOKEN_FILE or countersign/token in your configuration directory",
            ));
        }
        if token.is_some() && !address.is_loopback() {
            eprintln_quietly(
                "warning: the token goes in the clear to another machine; use a tunnel or a local TLS proxy",
            );
        }
        Ok(Client::new(address, token, Some(key.clone())))
    }

    /// A client for a person who reviews or audits: a token that may not read the whole log is left aside for one of the user's
    /// keys. An agent's token in the environment would otherwise spoil the command of the person at the same terminal.
    ///
    /// # Errors
    /// When address, token file or key can't be used.
    pub fn reviewer(&self, key: &KeyArgs, terminal: &Terminal) -> Result<Client, CommandFailure> {
        let client = self.client(key)?;
        if client.token_reads_all() {
            return Ok(client);
        }
        let with_key = Client::new(Address::parse(&self.url)?, None, Some(key.clone()));
        if with_key.admit(key)? {
            return Ok(with_key);
        }
        terminal.say(
            "note: the token may not read all that this command needs, and the boundary knows none of your keys; name an approver's key \
             with --key FILE, or give a token with the scope read for all steps",
        );
        Ok(client)
    }

    /// A connection to `url`, which may be a mirror's: as [`GlobalOptions::reviewer`] where it is the boundary of `--url`, else without
    /// the user's token and keys.
    ///
    /// # Errors
    /// When address or token file can't be used.
    pub fn client_at(&self, url: &str, key: &KeyArgs, terminal: &Terminal) -> Result<Client, CommandFailure> {
        let address = Address::parse(url)?;
        if Address::parse(&self.url).is_ok_and(|own| own == address) {
            return self.reviewer(key, terminal);
        }
        Ok(Client::stranger(address))
    }

    fn token(&self, address: &Address) -> Result<Option<Secret>, CommandFailure> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        // The user's standing token is for the boundary beside them, not for whatever address a command names.
        let own = || {
            Home::of_process()
                .config
                .map(|config| config.join("token"))
                .filter(|path| address.is_loopback() && path.is_file())
        };
        let Some(path) = self.token_file.clone().or_else(own) else { return Ok(None) };
        read_token(&path).map(Some)
    }
}

/// A token's file. As with private keys, a file that others can read is refused: the token in it may be theirs already.
fn read_token(path: &Path) -> Result<Secret, CommandFailure> {
    let bytes = read_bounded(path, 4096)?;
    let shown = format!("{path:?}");
    // A pipe or the standard input is nobody else's to open.
    if let Ok(about) = path.metadata()
        && about.is_file()
        && about.mode() & 0o077 != 0
    {
        return Err(CommandFailure::usage(format!(
            "the token file {shown} has mode {:04o}, so others can use the token; run `chmod 600 {shown}`, and make another token if \
             others may have read this one",
            about.mode() & 0o7777
        )));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| CommandFailure::usage(format!("{shown} holds no token")))?;
    Ok(Secret::new(text))
}
