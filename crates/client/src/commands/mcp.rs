//! The `mcp` command serves the Model Context Protocol on the standard input and output.
//!
//! The standard output has only JSON-RPC messages. All other messages go to the standard error.
//!
//! With a key, `propose` uses standing grants. The agent's client can kill the server at any time. So the server writes
//! a file before it sends a use of a grant, and deletes the file when the answer is complete. A repeated call finds the
//! nonce of the first call in this file, and is the same run.
//!
//! The module also prints the configuration that a client of MCP needs to start `countersign mcp`.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use crate::{
    ALL, BoundaryChoice, ChosenTrust, Client, CommandFailure, CommandResult, Exit, GlobalOptions,
    Home, KeyArgs, PrintableText, SignaturePurpose, Signer, Terminal, TrustArgs, absolute_roster,
    absolute_text,
    commands::{propose::new_nonce, verify},
    fail_refused, fail_usage,
    home::{
        keys::{self, UsableKey, UsableKeys, usable_keys, variable_of_ancestors},
        trusted_rosters::configured,
    },
    open_signer, own_program,
    remote::mcp_client::Remote,
};
use documents::{
    EnvelopeSignature, KeyId, Name, Parameter, canonical, hex, joined, sha256, visible,
};
use reading::ParameterSchema;
use verdict::{BundleReport, CheckFinding, KeyHolder, TrustedRoster, VerifyOptions};
use wire::{
    GranteeKey, LineTransport, McpServer, PlannedUse, ProposeArgs, REPEATS_FOR, ReceiptCheck,
    ReceiptVerification, ToolCalls, VerificationBasis,
};

/// Serve the Model Context Protocol (MCP) for an agent, on the standard input and output.
///
/// The agent gets seven tools: list_steps, get_step, propose, wait, get_output, get_receipt and cancel. The tools use
/// the token of the agent and can do nothing else. No tool approves. With --key, `propose` runs a step at once if a
/// standing grant of this key covers the run. With --boundary all, the tools serve all boundaries of your list, and each call
/// names its `boundary`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign mcp --print-config claude --token-file ~/.config/countersign/agent.token
  countersign mcp --token-file agent.token --url http://127.0.0.1:7433      the client of the agent starts this
  countersign mcp --key deploy-bot.pem                                       uses the standing grants of this key
  countersign mcp --boundary all                                             serves each boundary of your list

The command does not start if a program of this user can use the key of an approver, because the agent could then \
approve its own proposals. Run the agent as another user, or give the approver a security key whose groups have \
`presence = \"required\"` in the roster.")]
pub struct Args {
    /// Print the configuration for this client of MCP, and do not serve
    #[arg(long, value_name = "CLIENT")]
    print_config: Option<McpClient>,
    /// Serve although a program of this user can use the key of an approver. The agent can then approve its own
    /// proposals
    #[arg(long)]
    same_user_approves: bool,
    /// The key of a proposer of the roster, in place of a token. `propose` uses the standing grants of this key: nobody is
    /// asked for a run that a grant covers. COUNTERSIGN_KEY has no effect
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Serves until the standard input ends. Runs that have begun continue.
///
/// # Errors
/// Returns an error if there is neither a token nor a usable key, or if a program of this user can use the key of an
/// approver.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let is_all = matches!(global.choice, BoundaryChoice::All);
    let options = if is_all {
        global.for_all_listed()?
    } else {
        vec![global.clone()]
    };
    if let Some(client) = args.print_config {
        let own_trust = global.trust(&args.trust);
        terminal.line(configuration(
            client,
            global,
            &own_trust,
            args.key.as_deref(),
            args.same_user_approves,
        )?)?;
        if let Err(failure) = opened(args, options.clone(), is_all, terminal) {
            terminal.say(format!(
                "warning: a server with this configuration does not start yet: {}",
                failure.message
            ));
        }
        let risk = check_keys(&options, args)
            .map_or_else(|failure| Some(failure.message), |(risk, _)| risk);
        if let Some(risk) = risk.filter(|_| !args.same_user_approves) {
            terminal.say(format!("warning: as this user, {risk}"));
        }
        return Ok(Exit::Done);
    }
    let served = opened(args, options.clone(), is_all, terminal)?;
    let (risk, trust) = check_keys(&options, args)?;
    match (&risk, args.same_user_approves) {
        (Some(risk), false) => return fail_refused(risk.clone()),
        (Some(_), true) => terminal.say(
            "warning: --same-user-approves: a program of this user can use the key of an approver, so an approval does \
             not prove that a person agreed",
        ),
        (None, _) => {}
    }
    if let Some(grantee) = served.iter().find_map(|(_, _, grantee)| grantee.as_ref()) {
        check_grantee(&grantee.keyid(), &trust)?;
    }
    if let Some(note) = unchecked(&trust) {
        terminal.say(&note);
    }
    let nonce = || new_nonce(None, None).map_err(|failure| failure.message);
    let calls = served.into_iter().map(|(one, remote, grantee)| {
        let trust = one.trust(&args.trust);
        let verify = Arc::new(move |bundle: &[u8]| verification(bundle, &trust));
        let grantee = grantee.map(|grantee| Arc::new(grantee) as Arc<dyn GranteeKey>);
        let name = one
            .listed()
            .filter(|_| is_all)
            .map_or_else(String::new, |listed| listed.name.clone());
        (name, ToolCalls::of_machine(remote, nonce, verify, grantee))
    });
    let server = McpServer::new(calls.collect());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(broken)?;
    let ended = runtime.block_on(async {
        let transport = LineTransport::new(tokio::io::stdin(), tokio::io::stdout());
        server.serve(transport).await
    });
    // A request that still waits for the boundary must not keep the process alive.
    runtime.shutdown_background();
    ended.map_err(broken)?;
    Ok(Exit::Done)
}

fn broken(error: impl std::fmt::Display) -> CommandFailure {
    CommandFailure::unreachable(format!("MCP ended: {error}"))
}

/// The client of a boundary, and the key of a grantee.
type Served = (GlobalOptions, Remote, Option<McpGrantee>);

/// Opens the boundary, or each boundary of the list. A note names each boundary of the list without a usable token or
/// key.
fn opened(
    args: &Args,
    options: Vec<GlobalOptions>,
    is_all: bool,
    terminal: &Terminal,
) -> CommandResult<Vec<Served>> {
    let mut served = Vec::new();
    for mut one in options {
        let mut later = None;
        // One of several boundaries may be down now, so its id is checked at the first request.
        if let BoundaryChoice::One(listed) = &mut one.choice
            && is_all
        {
            later = Some((**listed).clone());
            listed.id = None;
        }
        match (credentials(args, &one), &later) {
            (Ok((client, grantee)), _) => served.push((one, Remote::new(client, later), grantee)),
            (Err(failure), Some(listed)) => {
                terminal.say(format!("note: {} is not served: {failure}", listed.name))
            }
            (Err(failure), None) => return Err(failure),
        }
    }
    if served.is_empty() {
        return fail_usage("no boundary of your list can be served: the notes say why");
    }
    Ok(served)
}

/// Looks for keys of approvers that programs of this user can use. Returns the refusal if there is such a key, and the
/// rosters that the check used.
fn check_keys(
    options: &[GlobalOptions],
    args: &Args,
) -> CommandResult<(Option<String>, Vec<ChosenTrust>)> {
    let variable = |name: &str| std::env::var_os(name).or_else(|| variable_of_ancestors(name));
    let homes = [
        Home::of_process(),
        Home::of(variable("HOME"), variable("XDG_CONFIG_HOME")),
    ];
    // A digest names no approvers, so the key check also uses the files of the configuration directories.
    let mut trust = Vec::new();
    for one in options {
        trust.extend(one.trust(&args.trust).find()?);
    }
    for home in &homes {
        trust.extend(configured(home)?);
    }
    let named = args
        .key
        .clone()
        .into_iter()
        .chain(variable("COUNTERSIGN_KEY").map(Into::into));
    let found = usable_keys(&homes, named, variable("SSH_AUTH_SOCK"));
    Ok((approver_risk(&found, &trust), trust))
}

/// Returns the client with the token of the agent, or with the key of a grantee.
fn credentials(args: &Args, global: &GlobalOptions) -> CommandResult<(Client, Option<McpGrantee>)> {
    let Some(file) = &args.key else {
        let client = global.token_client()?.ok_or_else(|| {
            CommandFailure::usage(
                "an agent needs a token of its own, or --key FILE with the key of a grantee: make a token with \
                 `countersign token create NAME --owner YOU`, and name its file with --token-file (or \
                 COUNTERSIGN_TOKEN_FILE)",
            )
        })?;
        return Ok((client, None));
    };
    if ["token", "token_file"]
        .iter()
        .any(|id| global.given.on_line.contains(id))
    {
        return fail_usage(
            "the token and --key belong to two proposers, and only the grantee can use a grant: leave out one of the two",
        );
    }
    Ok((
        global.key_client(&key_args(file))?,
        Some(McpGrantee::open(file, &global.url)?),
    ))
}

/// Checks that no trusted roster gives the key to somebody who is no proposer.
fn check_grantee(keyid: &KeyId, trust: &[ChosenTrust]) -> CommandResult<()> {
    let mut holders = trust
        .iter()
        .filter_map(|trust| trust.pinned.newest()?.signer(keyid));
    match holders.find(|(holder, _)| !matches!(holder, KeyHolder::Proposer(_))) {
        None => Ok(()),
        Some((holder, _)) => fail_refused(format!(
            "the MCP server does not start, because {keyid} is the key of the {holder}: give the key of a proposer of \
                 the roster"
        )),
    }
}

/// Returns a note if this user may have the key of an approver whom no roster file on this machine names.
fn unchecked(trust: &[ChosenTrust]) -> Option<String> {
    let (files, digests): (Vec<_>, Vec<_>) = trust
        .iter()
        .partition(|trust| trust.pinned.newest().is_some());
    let is_missing = |digest: &&&ChosenTrust| {
        !files
            .iter()
            .any(|file| file.pinned.digest() == digest.pinned.digest())
    };
    let missing = match digests.iter().find(is_missing) {
        Some(digest) => format!(
            "no file with the trusted roster {} is on this machine",
            digest.pinned.digest()
        ),
        None if files.is_empty() => "no trusted roster file is on this machine".to_owned(),
        None => return None,
    };
    Some(format!(
        "note: {missing}, so nobody checked whether this user has the key of one of its approvers; put the roster of the \
         boundary at countersign/roster.json in your configuration directory"
    ))
}

/// Returns the refusal if an approver's signature with one of these keys counts without a person.
fn approver_risk(found: &UsableKeys, trust: &[ChosenTrust]) -> Option<String> {
    let rosters: Vec<(&ChosenTrust, &TrustedRoster)> = trust
        .iter()
        .filter_map(|trust| Some((trust, trust.pinned.newest()?)))
        .collect();
    let ways = "An agent that runs as this user could approve its own proposals with this key. Run the agent as another \
         user, or let the approver use a security key, with `presence = \"required\"` for each of the approver's groups. \
         If you accept that an approval proves nothing, start with --same-user-approves";
    for (trust, roster) in &rosters {
        if let Some((key, name)) = found
            .keys
            .iter()
            .find_map(|key| Some((key, counts_alone(roster, key)?)))
        {
            return Some(format!(
                "the MCP server does not start: programs of this user can use the key {} ({}), which belongs to the \
                 approver {name} of the trusted roster {}. {ways}",
                key.keyid,
                key.place,
                PrintableText::text(&trust.from)
            ));
        }
    }
    let unknown = found.unknown.first().filter(|_| !rosters.is_empty())?;
    Some(format!(
        "the MCP server does not start, because it cannot check whether this user has the key of an approver: \
         {}; or start with --same-user-approves",
        PrintableText::text(unknown)
    ))
}

/// Returns the name of the approver, if a signature with this key can count without the touch of a security key.
/// Presence rules do not apply to signatures over a roster, so a key that is no security key always counts alone.
fn counts_alone<'r>(roster: &'r TrustedRoster, key: &UsableKey) -> Option<&'r Name> {
    let (approver, found) = roster.approver_of(&key.keyid)?;
    let approves = approver
        .groups
        .iter()
        .any(|group| roster.presence_rule(group).is_none());
    (approves || !found.is_security_key()).then_some(&approver.name)
}

/// Names the failed checks. The details are left out, because they can contain text of the bundle.
fn failed_words(report: &BundleReport) -> String {
    if let Some(missing) = report.undecided() {
        return format!(
            "not decided: {missing}; the user of this machine must add the missing versions to countersign/rosters/ in the \
             configuration directory"
        );
    }
    let names: Vec<&str> = report.failed().map(|check| check.name.word()).collect();
    let mut words = format!("NOT verified: failed checks: {}", names.join(", "));
    if names.contains(&"roster-chain") {
        words += ". The rosters that the user of this machine trusts are not the roster of this boundary: the boundary is \
             not the right one, or the user must add its roster to countersign/rosters/ in the configuration directory";
    }
    words
}

fn verification(bundle: &[u8], trust: &TrustArgs) -> ReceiptVerification {
    let none = |summary: String| ReceiptVerification {
        verified: false,
        basis: VerificationBasis::NoTrustedRoster,
        summary: visible(&summary),
        checks: Vec::new(),
        not_checked: vec!["every fact of this answer".to_owned()],
    };
    // The files are read again for each receipt, so a new roster counts at once.
    let trust = match trust.find() {
        Ok(trust) => trust,
        Err(failure) => return none(format!("not verified: {}", failure.message)),
    };
    let judged = match verify::with_any(bundle, &trust, VerifyOptions::default()) {
        Ok(judged) => judged,
        Err(untrusted) => {
            return none(format!(
                "not verified: {}; the user of this machine must trust the roster of the boundary first, at \
                 countersign/roster.json in the configuration directory",
                untrusted.message
            ));
        }
    };
    let report = judged.report;
    let summary = if report.verified {
        format!(
            "verified on this machine with the roster that its user trusts ({})",
            judged.trusted.from
        )
    } else if report.failed().next().is_some() {
        failed_words(&report)
    } else {
        "NOT verified: not all checks could be made".to_owned()
    };

    let finding = |finding| match finding {
        CheckFinding::Established => "established",
        CheckFinding::Failed => "failed",
        CheckFinding::NotChecked => "not-checked",
    };
    let not_checked = report
        .checks
        .iter()
        .filter(|check| check.finding == CheckFinding::NotChecked);
    let not_checked = not_checked.map(|check| format!("{}: {}", check.name, check.detail));
    ReceiptVerification {
        verified: report.verified,
        basis: VerificationBasis::ThisMachine,
        summary: visible(&summary),
        not_checked: not_checked
            .chain(report.boundary_says.iter().cloned())
            .map(|text| visible(&text))
            .collect(),
        checks: report
            .checks
            .iter()
            .map(|check| ReceiptCheck {
                name: check.name.to_string(),
                finding: finding(check.finding).to_owned(),
                detail: visible(&check.detail),
            })
            .collect(),
    }
}

/// The key of a grantee.
pub struct McpGrantee {
    signer: Box<dyn Signer>,
    url: String,
    directory: PathBuf,
}

impl McpGrantee {
    /// Opens the key, and the directory for the uses at the boundary of this address.
    ///
    /// # Errors
    /// Returns an error if the key can't be used, or needs a person for each signature, or if the directory can't be used.
    pub fn open(file: &Path, url: &str) -> CommandResult<Self> {
        let signer = open_signer(file).map_err(CommandFailure::usage)?;
        let refused = |why: &str| {
            CommandFailure::usage(format!(
                "the MCP server does not start, because {file:?} {why}"
            ))
        };
        if signer.key().is_security_key() || signer.asks().is_some() {
            let advice = "use a key without a passphrase, or load the key into ssh-agent";
            return Err(refused(&format!(
                "needs a person for each signature: {advice}"
            )));
        }
        // Sign a test text, which is no statement: a key that can't sign must fail now and not in a call of the agent.
        let _ = signer
            .sign(b"countersign mcp")
            .map_err(|error| refused(&format!("can't sign: {error}")))?;
        let state = std::env::var_os("XDG_STATE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let state = state.or_else(|| {
            Home::of_process()
                .home
                .map(|home| home.join(".local/state"))
        });
        let directory = state
            .ok_or_else(|| CommandFailure::usage("the home directory is unknown: set HOME"))?;
        let directory = directory.join("countersign/uses");
        let usable = std::fs::create_dir_all(&directory).and_then(|()| {
            drop(tempfile::NamedTempFile::new_in(&directory)?);
            // Delete old files. Nobody repeats their calls any more, and a killed server can leave temporary files.
            std::fs::read_dir(&directory)?
                .flatten()
                .for_each(|entry| drop(read_recent(&entry.path())));
            Ok(())
        });
        usable.map_err(|error| {
            CommandFailure::usage(format!(
                "the MCP server can't use the directory {directory:?}: {error}"
            ))
        })?;
        Ok(Self {
            signer,
            url: url.to_owned(),
            directory,
        })
    }

    /// Returns the file of a call. The waiting time does not change the name of the file, because it is no part of the
    /// proposal.
    fn file(&self, args: &ProposeArgs) -> PathBuf {
        let call = json!([
            self.url,
            self.keyid(),
            ProposeArgs {
                wait_s: 0,
                ..args.clone()
            }
        ]);
        self.directory
            .join(hex(&sha256(&canonical::to_canonical(&call))))
    }
}

/// Returns the option that names only this key.
pub fn key_args(file: &Path) -> KeyArgs {
    KeyArgs {
        key: Some(file.to_owned()),
        more: Vec::new(),
    }
}

/// Reads a file. If the file is so old that a repeated call would be a new run, deletes the file instead.
fn read_recent(path: &Path) -> Option<Vec<u8>> {
    let age = path
        .metadata()
        .ok()?
        .modified()
        .ok()?
        .elapsed()
        .unwrap_or_default();
    if age >= REPEATS_FOR {
        let _ = std::fs::remove_file(path);
        return None;
    }
    std::fs::read(path).ok()
}

impl GranteeKey for McpGrantee {
    fn keyid(&self) -> KeyId {
        self.signer.key().keyid()
    }

    fn check_params(
        &self,
        of_step: &Value,
        granted: &Parameter,
        given: &Map<String, Value>,
    ) -> Result<(), String> {
        let flaws = |_| "this version of the program can't read the schema".to_owned();
        let complete = ParameterSchema::parse(of_step)
            .map_err(flaws)?
            .complete(Value::Object(given.clone()));
        let granted = ParameterSchema::compile(granted).map_err(flaws)?;
        let checked = complete.and_then(|complete| granted.check(complete.value()));
        checked.map(drop).map_err(|errors| joined(&errors, "; "))
    }

    fn sign(&self, payload: &[u8]) -> Result<EnvelopeSignature, String> {
        keys::sign(self.signer.as_ref(), SignaturePurpose::Use, payload)
            .map_err(|failure| failure.message)
    }

    fn planned(&self, args: &ProposeArgs) -> Option<PlannedUse> {
        serde_json::from_slice(&read_recent(&self.file(args))?).ok()
    }

    fn plan(&self, args: &ProposeArgs, new: PlannedUse) -> Result<PlannedUse, String> {
        let path = self.file(args);
        let written = tempfile::NamedTempFile::new_in(&self.directory).and_then(|mut file| {
            file.write_all(&serde_json::to_vec(&new)?)?;
            file.as_file().sync_all()?;
            file.persist_noclobber(&path).map(drop).map_err(Into::into)
        });
        match written {
            Ok(()) => Ok(new),
            // The file may exist, because the same call is in progress.
            Err(error) => self
                .planned(args)
                .ok_or_else(|| format!("can't write {}: {error}", path.display())),
        }
    }

    fn forget(&self, args: &ProposeArgs) {
        let _ = std::fs::remove_file(self.file(args));
    }
}

/// A client of MCP.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum McpClient {
    /// Claude Code: .mcp.json of a project
    Claude,
    /// Claude Desktop: claude_desktop_config.json
    ClaudeDesktop,
    /// Codex: ~/.codex/config.toml
    Codex,
    /// Cursor: .cursor/mcp.json
    Cursor,
    /// VS Code: .vscode/mcp.json
    Vscode,
}

/// Returns the block of configuration for a client. The block contains the path of the file of the token or the key, but
/// never a token.
///
/// # Errors
/// Returns an error if the user gave a token itself, or if the path of this program is unknown.
pub fn configuration(
    client: McpClient,
    global: &GlobalOptions,
    trust: &TrustArgs,
    key: Option<&Path>,
    same_user_approves: bool,
) -> CommandResult<String> {
    if global.token.is_some() && key.is_none() {
        return fail_usage(
            "a configuration must not contain a token: write the token to a file of mode 0600, and give the file with \
             --token-file (and unset COUNTERSIGN_TOKEN)",
        );
    }
    let program = own_program().map_err(|error| {
        CommandFailure::usage(format!("the path of this program is unknown: {error}"))
    })?;
    // A client may start the program without the environment of the user, so the block contains what the environment
    // names.
    let (option, value) = match global.choice {
        BoundaryChoice::All => ("--boundary", ALL),
        _ => ("--url", global.url.as_str()),
    };
    let mut arguments = vec!["mcp".to_owned(), option.to_owned(), value.to_owned()];
    let tls = &global.tls;
    for (option, file) in [
        (
            "--token-file",
            global.token_file.as_deref().filter(|_| key.is_none()),
        ),
        ("--key", key),
        ("--cacert", tls.cacert.as_deref()),
        ("--cert", tls.cert.as_deref()),
        ("--cert-key", tls.cert_key.as_deref()),
    ] {
        if let Some(file) = file {
            arguments.extend([option.to_owned(), absolute_text(file)?]);
        }
    }
    if let Some(proxy) = &tls.proxy {
        arguments.extend(["--proxy".to_owned(), proxy.as_ref().to_owned()]);
    }
    let variable = std::env::var("COUNTERSIGN_TRUST")
        .ok()
        .filter(|value| !value.is_empty());
    let given = if trust.roster.is_empty() {
        variable.or(trust.listed.clone()).into_iter().collect()
    } else {
        trust.roster.clone()
    };
    for roster in given {
        arguments.extend(["--roster".to_owned(), absolute_roster(&roster)?]);
    }
    if same_user_approves {
        arguments.push("--same-user-approves".to_owned());
    }
    let program = program.to_string_lossy().into_owned();
    let mut entry = json!({"command": program, "args": arguments});
    let key = match client {
        McpClient::Codex => return Ok(codex(&program, &arguments)),
        McpClient::ClaudeDesktop => "mcpServers",
        McpClient::Claude | McpClient::Cursor => {
            entry["type"] = "stdio".into();
            "mcpServers"
        }
        McpClient::Vscode => {
            entry["type"] = "stdio".into();
            "servers"
        }
    };
    let file = json!({ key: { "countersign": entry } });
    serde_json::to_string_pretty(&file).map_err(CommandFailure::usage)
}

fn codex(program: &str, arguments: &[String]) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    format!(
        "[mcp_servers.countersign]\ncommand = {}\nargs = [{}]",
        text(program),
        joined(arguments.iter().map(|argument| text(argument)), ", ")
    )
}
