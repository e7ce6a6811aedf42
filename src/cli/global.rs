//! Options of every command: the address of the boundary, the token, and JSON output.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::home::directories::Home;
use crate::home::keys::KeyArgs;
use crate::home::named_file::read_bounded;
use crate::remote::client::{Address, Client, DEFAULT_URL, Secret};
use crate::terminal::exit::CommandFailure;
use crate::terminal::streams::{Terminal, eprintln_quietly};

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct GlobalOptions {
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// The address of the boundary
    #[arg(long, global = true, env = "COUNTERSIGN_URL", default_value = DEFAULT_URL, value_name = "URL")]
    pub url: String,
    /// A token. Other users of this machine can see this option in the process list, so prefer COUNTERSIGN_TOKEN or a
    /// file
    #[arg(long, global = true, env = "COUNTERSIGN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<Secret>,
    /// A file of mode 0600 with a token. The default for a boundary on this machine is countersign/token in your
    /// configuration directory
    #[arg(long, global = true, env = "COUNTERSIGN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl GlobalOptions {
    /// Creates a client of the boundary. If there is no token, a key of the user authenticates the requests.
    ///
    /// # Errors
    /// Returns an error if the address or the token file cannot be used.
    pub fn client(&self, key: &KeyArgs) -> Result<Client, CommandFailure> {
        let address = Address::parse(&self.url)?;
        let token = self.token(&address)?;
        if token.as_ref().is_some_and(|token| !token.is_plain()) {
            return Err(CommandFailure::usage(
                "the given text is no token: a token is `cst_` and 43 letters, digits, `-` and `_`; the token comes \
                 from --token, --token-file, COUNTERSIGN_TOKEN, COUNTERSIGN_TOKEN_FILE or countersign/token in your \
                 configuration directory",
            ));
        }
        if token.is_some() && !address.is_loopback() {
            eprintln_quietly(
                "warning: the token is sent to another machine without encryption; use a tunnel or a local TLS proxy",
            );
        }
        Ok(Client::new(address, token, Some(key.clone())))
    }

    /// Creates a client for a person who reviews or audits. If the token does not permit reading the whole log, the
    /// client uses a key of the user instead. Without this rule, an agent's token in the environment would make the
    /// person's command fail.
    ///
    /// # Errors
    /// Returns an error if the address, the token file or the key cannot be used.
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
            "note: the token does not permit every read of this command, and the boundary knows none of your keys: \
             name an approver's key with --key FILE, or give a token with the scope `read` for all steps",
        );
        Ok(client)
    }

    /// Creates a client for `url`, which may be the address of a mirror. The client uses the token and the keys of
    /// the user only if `url` is the boundary of `--url`.
    ///
    /// # Errors
    /// Returns an error if the address or the token file cannot be used.
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
        // The default token is sent only to a boundary on this machine, because a server at another address could
        // steal the token.
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

/// Reads a token file. A file that other users can read is refused, because these users may already have the token.
fn read_token(path: &Path) -> Result<Secret, CommandFailure> {
    let bytes = read_bounded(path, 4096)?;
    let shown = format!("{path:?}");
    // The mode of a pipe or of the standard input is not checked, because other users cannot open such an input.
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
