//! Options of every command: the address of the boundary, the token, and JSON output.
//!
//! The file also opens the log that an argument of a command names, and has the messages about the parts of the program that
//! the client does not have: store, sandbox and service.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::{
    ALL, Address, BoundaryList, Client, CommandFailure, CommandResult, Home, KeyArgs,
    ListedBoundary, LogSource, OpenStoredLog, PrintableText, Secret, Terminal, TlsFiles, TrustArgs,
    eprintln_quietly, fail_usage, read_private,
    remote::address::{DEFAULT_URL, JobIdentity},
};
use documents::SealDigest;
use wire::RegistryView;

/// Options of every command.
#[derive(Clone, Args)]
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
    #[arg(
        long,
        global = true,
        env = "COUNTERSIGN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub token: Option<Secret>,
    /// A file of mode 0600 with a token. The default for a boundary on this machine is countersign/token in your
    /// configuration directory
    #[arg(
        long,
        global = true,
        env = "COUNTERSIGN_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub token_file: Option<PathBuf>,
    /// The files for an `https://` address.
    #[command(flatten)]
    pub tls: TlsFiles,
    /// Function that opens a store, if the program has a database.
    #[arg(skip)]
    pub open_store: Option<OpenStoredLog>,
    /// What `--boundary` chose from the list of boundaries.
    #[arg(skip)]
    pub choice: BoundaryChoice,
    /// Options that the command line has, and the address of the environment.
    #[arg(skip)]
    pub given: GivenOptions,
    /// Longest time for an answer to a request that only reads, if it is shorter than usual.
    #[arg(skip)]
    pub patience: Option<Duration>,
}

/// Options of a CI job.
#[derive(Args)]
pub struct JobArgs {
    /// Open the token of the CI job with the ID token of the job, so that no secret is stored: in GitHub Actions with
    /// `permissions: id-token: write`, in GitLab with `id_tokens: COUNTERSIGN_ID_TOKEN`
    #[arg(long)]
    oidc: bool,
    /// With --oidc: the id of the boundary, sha256:…. The ID token is for this boundary only, so that no other server can
    /// use it. An id in your list of boundaries has the same effect
    #[arg(long, env = "COUNTERSIGN_BOUNDARY", value_name = "ID")]
    boundary_id: Option<SealDigest>,
}

/// What `--boundary` chose from the list of boundaries.
#[derive(Clone, Default)]
pub enum BoundaryChoice {
    /// The option is missing.
    #[default]
    None,
    /// One boundary.
    One(Box<ListedBoundary>),
    /// The boundary of an address, not of the list.
    Address,
    /// Every boundary.
    All,
}

/// Options that a person gave. An entry of the list of boundaries replaces only options that the person did not give.
#[derive(Clone, Default)]
pub struct GivenOptions {
    /// Ids of the options on the command line.
    pub on_line: BTreeSet<&'static str>,
    /// True if the command line or the environment has an address.
    pub address: bool,
    /// Value of `--boundary`.
    pub listed: Option<String>,
}

/// Ids of the options that an entry of the list of boundaries can replace.
pub const REPLACED_BY_LIST: [&str; 5] = ["token", "token_file", "cacert", "cert", "cert_key"];

impl GlobalOptions {
    /// Opens the log in the directory of a store that no service uses.
    ///
    /// # Errors
    /// Returns an error if the program is the client, which has no database, or if the log cannot be read.
    pub fn stored_log(&self, directory: &Path) -> CommandResult<LogSource> {
        self.open_store.unwrap_or(refused_store)(directory)
    }

    /// Creates a client of the boundary. Without a token, the client authenticates with a key of the user.
    ///
    /// # Errors
    /// Returns an error if the address or the token file cannot be used, or if the boundary has another id than the list
    /// of boundaries states.
    pub fn client(&self, key: &KeyArgs) -> CommandResult<Client> {
        self.with_listed_id(self.unchecked_client(key)?)
    }

    fn unchecked_client(&self, key: &KeyArgs) -> CommandResult<Client> {
        let (address, token) = self.address_and_token()?;
        let client = Client::new(address, &self.tls, token, Some(key.clone()))?;
        client.limit_reads(self.patience);
        Ok(client)
    }

    fn listed_client(&self, token: Option<Secret>, keys: Option<KeyArgs>) -> CommandResult<Client> {
        self.with_listed_id(Client::new(self.address()?, &self.tls, token, keys)?)
    }

    /// Returns the client if the boundary has the id that the list of boundaries states.
    fn with_listed_id(&self, client: Client) -> CommandResult<Client> {
        if let Some(listed) = self.listed()
            && listed.id.is_some()
        {
            listed.check_id(client.get::<RegistryView>("/v1/registry")?.boundary.id)?;
        }
        Ok(client)
    }

    /// Returns the boundary of the list that these options are for.
    pub fn listed(&self) -> Option<&ListedBoundary> {
        match &self.choice {
            BoundaryChoice::One(listed) => Some(listed),
            BoundaryChoice::None | BoundaryChoice::Address | BoundaryChoice::All => None,
        }
    }

    /// Returns the name of this boundary in the list, or else its address.
    pub fn shown_name(&self) -> &str {
        self.listed().map_or(&self.url, |listed| &listed.name)
    }

    /// Chooses the boundary that `--boundary` names, by its name in the list or by its address. An address in `--url` or in
    /// the environment has priority.
    ///
    /// # Errors
    /// Returns an error if the list of boundaries can't be read, or has no boundary of this name.
    pub fn choose(mut self) -> CommandResult<Self> {
        match self.given.listed.clone().as_deref() {
            None => {}
            Some(_) if self.given.address => {
                self.choice = BoundaryChoice::Address;
                eprintln_quietly(
                    "note: --boundary has no effect, because --url or COUNTERSIGN_URL names the address",
                )
            }
            Some(address) if address.contains("://") => {
                (self.choice, self.given.address) = (BoundaryChoice::Address, true);
                address.clone_into(&mut self.url);
            }
            Some(ALL) => {
                self.choice = BoundaryChoice::All;
                // The list has the token and the files of each boundary, so ignore the token and the files of the
                // options. The environment names no proxy, so a proxy here is one of the command line.
                let proxy = self.tls.proxy.take();
                (self.token, self.token_file) = (None, None);
                self.tls = TlsFiles {
                    proxy,
                    ..TlsFiles::default()
                };
            }
            Some(name) => return Ok(self.for_listed(BoundaryList::of_process()?.find(name)?)),
        }
        Ok(self)
    }

    /// Returns the options for a boundary of the list. Only the command line has priority over the list: a token or a
    /// certificate of the environment belongs to the address of the environment, and must not get to another boundary.
    pub fn for_listed(&self, one: &ListedBoundary) -> Self {
        let typed = |id: &str| self.given.on_line.contains(id);
        let file = |id: &str, own: &Option<PathBuf>, listed: &Option<PathBuf>| {
            if typed(id) {
                own.clone()
            } else {
                listed.clone()
            }
        };
        let tls = TlsFiles {
            cacert: file("cacert", &self.tls.cacert, &one.ca),
            cert: file("cert", &self.tls.cert, &one.certificate),
            cert_key: file("cert_key", &self.tls.cert_key, &one.key),
            proxy: self.tls.proxy.clone().or_else(|| one.proxy.clone()),
        };
        Self {
            url: one.url.clone(),
            token: self.token.clone().filter(|_| typed("token")),
            token_file: file("token_file", &self.token_file, &one.token_file),
            tls,
            choice: BoundaryChoice::One(Box::new(one.clone())),
            ..self.clone()
        }
    }

    /// Returns the options for each boundary of the list. A token on the command line belongs to one boundary, so it is
    /// refused.
    ///
    /// # Errors
    /// Returns an error if the list can't be read or is empty, or if the command line has a token or a file for one
    /// boundary.
    pub fn for_all_listed(&self) -> CommandResult<Vec<Self>> {
        if let Some(id) = REPLACED_BY_LIST
            .iter()
            .find(|id| self.given.on_line.contains(**id))
        {
            return fail_usage(format!(
                "--{} is for one boundary, so it can't be used for all boundaries of your list: leave it out, or choose \
                 one boundary with --boundary NAME",
                id.replace('_', "-")
            ));
        }
        let list = BoundaryList::of_process()?;
        if list.boundaries.is_empty() {
            return fail_usage(
                "your list of boundaries is empty: add a boundary with `countersign boundary add NAME --url URL`",
            );
        }
        Ok(list
            .boundaries
            .iter()
            .map(|one| self.for_listed(one))
            .collect())
    }

    /// Returns the options for the boundary of the options or the environment, or else for each boundary of the list.
    ///
    /// # Errors
    /// Returns an error if the list of boundaries can't be read.
    pub fn chosen(&self) -> CommandResult<Vec<Self>> {
        let one = match &self.choice {
            BoundaryChoice::One(_) | BoundaryChoice::Address => true,
            BoundaryChoice::All => false,
            BoundaryChoice::None => {
                self.given.address || BoundaryList::of_process()?.boundaries.is_empty()
            }
        };
        if one {
            Ok(vec![self.clone()])
        } else {
            self.for_all_listed()
        }
    }

    /// Returns the trust options, with the roster of the chosen boundary.
    pub fn trust(&self, trust: &TrustArgs) -> TrustArgs {
        TrustArgs {
            listed: self.listed().and_then(|one| one.roster.clone()),
            ..trust.clone()
        }
    }

    /// Creates a client that has only a token, and that never uses a key of the user. Returns `None` without a token.
    ///
    /// # Errors
    /// Returns an error if the address or the token file cannot be used.
    pub fn token_client(&self) -> CommandResult<Option<Client>> {
        let (_, token) = self.address_and_token()?;
        token
            .map(|token| self.listed_client(Some(token), None))
            .transpose()
    }

    /// Creates a client with the ID token of the CI job in which the program runs, or else the usual client.
    ///
    /// # Errors
    /// Returns an error if the address can't be used, if the program runs in no CI job with an ID token, or if the id of
    /// the boundary is unknown.
    pub fn client_of_job(&self, job: &JobArgs, key: &KeyArgs) -> CommandResult<Client> {
        if !job.oidc {
            return self.client(key);
        }
        let listed = self.listed().and_then(|one| one.id);
        if let (Some(listed), Some(id)) = (listed, job.boundary_id)
            && listed != id
        {
            return fail_usage(format!(
                "--boundary-id (COUNTERSIGN_BOUNDARY) is {id}, but your list states the id {listed} for this boundary: \
                 leave the option out, or correct it"
            ));
        }
        let id = job.boundary_id.or(listed);
        let job = JobIdentity::of_process(id.map(|id| format!("countersign:{id}")))?;
        self.with_listed_id(Client::new(self.address()?, &self.tls, None, None)?.with_job(job))
    }

    /// Creates a client that has only a key, and that never uses a token.
    ///
    /// # Errors
    /// Returns an error if the address cannot be used, or is on another machine without TLS.
    pub fn key_client(&self, key: &KeyArgs) -> CommandResult<Client> {
        self.address()?.check_private("the signature of your key")?;
        self.listed_client(None, Some(key.clone()))
    }

    /// Creates a client that has only this bearer, or no credentials. The client never uses a token or a key of the user.
    ///
    /// # Errors
    /// Returns an error if the address cannot be used, or is on another machine without TLS.
    pub fn client_with(&self, bearer: Option<&str>) -> CommandResult<Client> {
        Client::new(self.address()?, &self.tls, bearer.map(Secret::new), None)
    }

    fn address(&self) -> CommandResult<Address> {
        if matches!(self.choice, BoundaryChoice::All) {
            return fail_usage(
                "this command does not use all boundaries of your list: choose one with --boundary NAME",
            );
        }
        Address::parse(&self.url)
    }

    fn address_and_token(&self) -> CommandResult<(Address, Option<Secret>)> {
        let address = self.address()?;
        let token = self.token(&address)?;
        if token.as_ref().is_some_and(|token| !token.is_plain()) {
            return fail_usage(
                "the given text is no token: a token is `cst_` and 43 letters, digits, `-` and `_`; the token comes \
                 from --token, --token-file, COUNTERSIGN_TOKEN, COUNTERSIGN_TOKEN_FILE or countersign/token in your \
                 configuration directory",
            );
        }
        Ok((address, token))
    }

    /// Creates a client for a person who reviews or audits. If the token does not permit reading the whole log, the
    /// client uses a key of the user instead. Otherwise the command would fail in an environment with the token of an
    /// agent.
    ///
    /// # Errors
    /// Returns an error if the address, the token file or the key cannot be used.
    pub fn reviewer(&self, key: &KeyArgs, terminal: &Terminal) -> CommandResult<Client> {
        let client = self.unchecked_client(key)?;
        if client.token_reads_all() {
            return self.with_listed_id(client);
        }
        let with_key = client.clone();
        if with_key.admit(key)? {
            return self.with_listed_id(with_key);
        }
        terminal.say(
            "note: the token does not permit every read of this command, and the boundary knows none of your keys: \
             name an approver's key with --key FILE, or give a token with the scope `read` for all steps",
        );
        self.with_listed_id(client)
    }

    /// Creates a client for `url`, which may be the address of a mirror. The client uses the token and the keys of
    /// the user only if `url` is the boundary of `--url`.
    ///
    /// # Errors
    /// Returns an error if the address or the token file cannot be used.
    pub fn client_at(
        &self,
        url: &str,
        key: &KeyArgs,
        terminal: &Terminal,
    ) -> CommandResult<Client> {
        let address = Address::parse(url)?;
        if Address::parse(&self.url).is_ok_and(|own| own == address) {
            return self.reviewer(key, terminal);
        }
        Client::stranger(address, &self.tls)
    }

    fn token(&self, address: &Address) -> CommandResult<Option<Secret>> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        // Send the default token only to a boundary on this machine, because a server at another address could steal
        // it. The list of boundaries names the token file of each boundary itself.
        let own = || {
            Home::of_process()
                .config
                .map(|config| config.join("token"))
                .filter(|path| address.is_loopback && self.listed().is_none() && path.is_file())
        };
        let Some(path) = self.token_file.clone().or_else(own) else {
            return Ok(None);
        };
        read_token(&path).map(Some)
    }
}

/// Reads a token file.
fn read_token(path: &Path) -> CommandResult<Secret> {
    let bytes = read_private(path, 4096, "token")?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| CommandFailure::usage(format!("{path:?} holds no token")))?;
    Ok(Secret::new(text))
}

/// Returns the message for a command that the client does not have.
pub fn lacks(command: &str) -> String {
    let remedy = if command == "`console`" {
        "install the client with pages: `cargo install --path crates/console-program --locked` in its source directory"
    } else if cfg!(target_os = "linux") {
        "install the whole program: `cargo install --path . --locked` in its source directory"
    } else {
        "the whole program needs Linux: install it on a Linux machine, in a virtual machine with Linux, or on Windows \
         in WSL 2 (`cargo install --path . --locked` in its source directory)"
    };
    format!("this program is the client, which does not have {command}; {remedy}")
}

/// Returns the failure of a command that needs a part of the whole program.
pub fn needs_boundary(command: &str) -> CommandFailure {
    CommandFailure::usage(lacks(command))
}

/// Refuses to read a store, because the client has no database.
///
/// # Errors
/// Always returns an error, which says how to get a copy of the log.
pub fn refused_store(directory: &Path) -> CommandResult<LogSource> {
    let shown = PrintableText::file(directory);
    fail_usage(format!(
        "{shown} is a store, which the client can't read: copy its log with the whole program (`countersign log \
        export copy/ \
         --from {shown}`), and name the copy"
    ))
}

/// Name of the database file in the directory of a store.
pub const DATABASE: &str = "countersign.db";

/// Opens the log that the user named. A text that begins with `http://` or `https://` is the address of a boundary or a
/// mirror. Any other text is the path of a directory. The program uses the token and the keys of the user only for the
/// boundary of `--url`.
///
/// # Errors
/// Returns an error if the address cannot be used, or if the directory does not exist.
pub fn open_log(
    named: &str,
    global: &GlobalOptions,
    key: &KeyArgs,
    terminal: &Terminal,
) -> CommandResult<LogSource> {
    if is_address(named) {
        return Ok(LogSource::Served(Box::new(
            global.client_at(named, key, terminal)?,
        )));
    }
    local_log(named, global)
}

/// Opens the log that the user named, as [`open_log`] does, but never uses a key of the user. A boundary needs a token.
///
/// # Errors
/// Returns an error if the address cannot be used, or if the directory does not exist.
pub fn open_log_without_key(named: &str, global: &GlobalOptions) -> CommandResult<LogSource> {
    if !is_address(named) {
        return local_log(named, global);
    }
    let address = Address::parse(named)?;
    let is_own = Address::parse(&global.url).is_ok_and(|own| own == address);
    let client = match global.token_client()?.filter(|_| is_own) {
        Some(client) => client,
        None => Client::stranger(address, &global.tls)?,
    };
    Ok(LogSource::Served(Box::new(client)))
}

/// Returns true for the address of a boundary or a mirror.
pub fn is_address(named: &str) -> bool {
    named.starts_with("http://") || named.starts_with("https://")
}

fn local_log(named: &str, global: &GlobalOptions) -> CommandResult<LogSource> {
    let path = PathBuf::from(named);
    if path.join(DATABASE).is_file() {
        return global.stored_log(&path);
    }
    if path.is_dir() {
        return Ok(LogSource::Directory(path));
    }
    let shown = PrintableText::text(named);
    fail_usage(format!(
        "{shown} is no directory: name a directory that `countersign log export` or `store backup` wrote, a closed \
        log, or \
         the address of a boundary (http://... or https://...)"
    ))
}
