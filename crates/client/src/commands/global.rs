//! Options of every command: the address of the boundary, the token, and JSON output.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::commands::client_build::refused_store;
use crate::home::directories::Home;
use crate::home::keys::KeyArgs;
use crate::home::named_file::read_private;
use crate::remote::address::{Address, DEFAULT_URL};
use crate::remote::client::{Client, Secret};
use crate::remote::log_source::{LogSource, OpenStoredLog};
use crate::remote::tls_files::TlsFiles;
use crate::terminal::exit::CommandFailure;
use crate::terminal::streams::Terminal;

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
    /// The files for an `https://` address.
    #[command(flatten)]
    pub tls: TlsFiles,
    /// Function that opens a store, if the program has a database.
    #[arg(skip)]
    pub open_store: Option<OpenStoredLog>,
}

impl GlobalOptions {
    /// Opens the log in the directory of a store that no service uses.
    ///
    /// # Errors
    /// Returns an error if the program is the client, which has no database, or if the log cannot be read.
    pub fn stored_log(&self, directory: &Path) -> Result<LogSource, CommandFailure> {
        self.open_store.unwrap_or(refused_store)(directory)
    }

    /// Creates a client of the boundary. Without a token, the client authenticates with a key of the user.
    ///
    /// # Errors
    /// Returns an error if the address or the token file cannot be used.
    pub fn client(&self, key: &KeyArgs) -> Result<Client, CommandFailure> {
        let (address, token) = self.address_and_token()?;
        Client::new(address, &self.tls, token, Some(key.clone()))
    }

    /// Creates a client that has only a token, and that never uses a key of the user. Returns `None` without a token.
    ///
    /// # Errors
    /// Returns an error if the address or the token file cannot be used.
    pub fn token_client(&self) -> Result<Option<Client>, CommandFailure> {
        let (address, token) = self.address_and_token()?;
        token.map(|token| Client::new(address, &self.tls, Some(token), None)).transpose()
    }

    fn address_and_token(&self) -> Result<(Address, Option<Secret>), CommandFailure> {
        let address = Address::parse(&self.url)?;
        let token = self.token(&address)?;
        if token.as_ref().is_some_and(|token| !token.is_plain()) {
            return Err(CommandFailure::usage(
                "the given text is no token: a token is `cst_` and 43 letters, digits, `-` and `_`; the token comes \
                 from --token, --token-file, COUNTERSIGN_TOKEN, COUNTERSIGN_TOKEN_FILE or countersign/token in your \
                 configuration directory",
            ));
        }
        Ok((address, token))
    }

    /// Creates a client for a person who reviews or audits. If the token does not permit reading the whole log, the
    /// client uses a key of the user instead. Otherwise the command would fail in an environment with the token of an
    /// agent.
    ///
    /// # Errors
    /// Returns an error if the address, the token file or the key cannot be used.
    pub fn reviewer(&self, key: &KeyArgs, terminal: &Terminal) -> Result<Client, CommandFailure> {
        let client = self.client(key)?;
        if client.token_reads_all() {
            return Ok(client);
        }
        let with_key = Client::new(Address::parse(&self.url)?, &self.tls, None, Some(key.clone()))?;
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
        Client::stranger(address, &self.tls)
    }

    fn token(&self, address: &Address) -> Result<Option<Secret>, CommandFailure> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        // Send the default token only to a boundary on this machine, because a server at another address could steal
        // it.
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

/// Reads a token file.
fn read_token(path: &Path) -> Result<Secret, CommandFailure> {
    let bytes = read_private(path, 4096, "token")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| CommandFailure::usage(format!("{path:?} holds no token")))?;
    Ok(Secret::new(text))
}
