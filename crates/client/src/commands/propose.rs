//! The `propose` command asks for one run of one step.

use std::{
    fs::File,
    io::{self, Seek as _},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::{
    Client, CommandFailure, CommandResult, Exit, GlobalOptions, HashingWriter, JobArgs, KeyArgs,
    OutputForm, PrintableText, RunPrinter, Terminal, WantedBundle,
    commands::grant::signing::{WantedUse, sign_use},
    fail_refused, fail_usage, find_grant, now, read_params, revocation, step_parameters, typed,
    wait_for, write_document,
};
use documents::{
    Authorization, Code, ContentDigest, DEFAULT_WINDOW_S, Envelope, IdentError, MAX_REASON_CHARS,
    MAX_WINDOW_S, Name, Nonce, Parameter, ProposalId, ReceiptId, RenderedDigest, SKEW_S, SessionId,
    StepDefinition, StepDigest, StepRef, StepReference, Timestamp, check_reason, joined,
    json as strict,
};
use reading::{ParameterSchema, duration, step_template};
use wire::{
    ProposalStatus, ProposalView, Propose, ProposedArtifact, ReceiptFiles, RegistryView, StepView,
    StoredArtifact,
};

/// Propose to run one step once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign propose nginx:restart -p host=web-3 --reason 'p99 is up' --wait
  countersign propose deploy/web:roll -p count=3 -p 'zones=[\"a\",\"b\"]'     the step's schema gives the types
  countersign propose nginx:restart --params params.json --wait --bundle run.bundle.json
  countersign propose nginx:restart --reason=\"$MESSAGE\" --reason-cut          a reason of any length
  countersign propose nginx:restart@sha256:… -p host=web-3                 only this definition
  countersign propose nginx:restart -p host=web-3 --new                    a second run of a pending proposal
  countersign propose web:apply --plan rcp_… --wait                        apply exactly this plan
  countersign propose web:deploy --artifact app.tar=build/app.tar           upload a file for the run
  countersign propose deploy:web -p commit=$GITHUB_SHA --oidc --boundary-id sha256:… --wait   a CI job without a secret
  countersign propose nginx:restart -p host=web-3 --emergency               people review the run afterwards
  countersign propose nginx:restart -p host=web-3 --offline --proposer ci-agent -o statement.json

Exit codes with --wait: the code of the step, or 2 you gave something wrong, 123 people said no, 124 expired or timed \
out, 125 boundary unreachable or faulty, 126 refused by policy, state or boundary, or cancelled, 127 unknown step, \
128+n ended by signal n.")]
pub struct Args {
    /// The step, as path:step. With @sha256:… the proposal fails if the step has another definition
    step: String,
    /// A parameter. The schema gives its type: text, integer, boolean, or JSON for arrays and objects
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// A file with a JSON object of parameters, or - for the standard input. The option -p overrides a value of the
    /// file
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// The reason for the proposal, which the approvers read
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Cut a reason that is too long, and end the reason with three dots. A reason has at most 1,024
    /// characters, or 512 emoji
    #[arg(long)]
    reason_cut: bool,
    /// Wait for the end, print the output live, and exit with the exit code of the step
    #[arg(long)]
    wait: bool,
    /// With --wait: write the bundle of the receipt to this file
    #[arg(long, value_name = "FILE", requires = "wait")]
    bundle: Option<PathBuf>,
    /// With --bundle: wait up to a minute until K witnesses of the log have cosigned. The default is 1 if the roster
    /// has witnesses
    #[arg(long, value_name = "K", requires = "bundle")]
    witness: Option<u64>,
    /// With --bundle: leave out the versions of the roster before version N. Those who trust version N or a later one need no
    /// earlier one
    #[arg(long, value_name = "N", requires = "bundle")]
    from_roster: Option<u64>,
    /// The time in which people can sign and the run can start: 90s, 30m, 1h30m; at most 1d
    #[arg(long, value_name = "TIME", value_parser = parse_window)]
    expires: Option<i64>,
    /// Your own nonce: 8 bytes of the time at which the proposal expires (seconds since 1970, big-endian) and 16 random
    /// bytes, in base64url without padding. If you repeat a proposal with the same nonce before its end, the boundary
    /// returns the existing proposal
    #[arg(long, value_name = "NONCE", conflicts_with = "expires")]
    nonce: Option<Nonce>,
    /// The session in which the step runs, for a step that declares a session
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// Upload a file that the run gets as $COUNTERSIGN_ARTIFACTS/NAME. Can be repeated
    #[arg(long = "artifact", value_name = "NAME=FILE")]
    artifacts: Vec<String>,
    /// The receipt of the plan that the step applies, for a step that declares a plan
    #[arg(long, value_name = "RECEIPT")]
    plan: Option<ReceiptId>,
    /// Run the step at once under this standing grant, with the key of its grantee (--key) or with its token
    #[arg(long, value_name = "GRANT", conflicts_with = "offline")]
    grant: Option<String>,
    /// Propose an emergency: the people of the rule `emergency` of policy approve the run, and people must review it
    /// afterwards
    #[arg(long, conflicts_with_all = ["grant", "offline"])]
    emergency: bool,
    /// Take the outputs of this run as parameters. Other parameters are given with -p
    #[arg(long, value_name = "RECEIPT")]
    outputs_of: Option<ReceiptId>,
    /// Ask for another run. Without this option, an earlier proposal of the same run is returned while it is open, and for
    /// 10 minutes after it ran, was denied or was cancelled, unless you proposed something else since
    #[arg(long, conflicts_with = "nonce")]
    new: bool,
    /// Only write the statement to a file, which approvers then sign
    #[arg(long, requires = "output", conflicts_with_all = ["wait", "session", "artifacts", "plan"])]
    offline: bool,
    /// With --offline: write the statement to this file
    #[arg(short, long, value_name = "FILE", requires = "offline")]
    output: Option<PathBuf>,
    /// With --offline and a token: the name of the token, which becomes the name of the proposer. With a key, this
    /// option is not needed, because the boundary knows the owner of the key
    #[arg(long, value_name = "NAME", requires = "offline")]
    proposer: Option<Name>,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    form: OutputForm,
    #[command(flatten)]
    key: KeyArgs,
}

impl Args {
    fn reason(&self) -> String {
        if self.reason_cut {
            cut(&self.reason)
        } else {
            self.reason.clone()
        }
    }
}

/// Cuts a reason to the maximum of an authorization.
fn cut(reason: &str) -> String {
    const MARK: &str = "...";
    let fits = |text: &str| check_reason("", text).is_ok();
    if fits(reason) {
        return reason.to_owned();
    }
    let mut text: String = reason.chars().take(MAX_REASON_CHARS).collect();
    while !fits(&format!("{text}{MARK}")) && text.pop().is_some() {}
    format!("{}{MARK}", text.trim_end())
}

/// Creates the proposal, and waits for its end if `--wait` is given.
///
/// # Errors
/// Returns an error if the step is unknown, the parameters are invalid, or the boundary refuses.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let client = global.client_of_job(&args.job, &args.key)?;
    let (reference, digest) = parse_step(&args.step)?;
    let mut params = match &args.params {
        Some(path) => read_params(path)?,
        None => Map::new(),
    };
    // Only `--offline`, `-p` and `--outputs-of` need the definition of the step.
    if args.offline || !args.param.is_empty() || args.outputs_of.is_some() {
        let step: StepView = client
            .get(&format!("/v1/steps/{reference}"))
            .map_err(unknown_step)?;
        let known = step_parameters(&step)?;
        if let Some(receipt) = &args.outputs_of {
            add_outputs(&client, receipt, &known, &mut params)?;
        }
        for given in &args.param {
            let (name, value) = typed(given, &known)?;
            params.insert(name, value);
        }
        if args.offline {
            return offline(args, &client, &step, digest, params, terminal);
        }
    }
    let grant = args
        .grant
        .as_deref()
        .map(|name| find_grant(name, &client))
        .transpose()?;
    let nonce = match &args.nonce {
        None => grant
            .as_ref()
            .map(|grant| {
                // The clock of the boundary may be a little behind the clock of this machine.
                let window = args.expires.map(|window| window.min(MAX_WINDOW_S - SKEW_S));
                new_nonce(window, Some(grant.grant.expires_at))
            })
            .transpose()?,
        chosen => chosen.clone(),
    };
    let wish = Propose {
        step: args.step.clone(),
        params: Value::Object(params),
        reason: args.reason(),
        expires_in_s: args.expires.filter(|_| nonce.is_none()),
        nonce,
        session: args.session.clone(),
        artifacts: args
            .artifacts
            .iter()
            .map(|given| upload(&client, given))
            .collect::<Result<_, _>>()?,
        plan: args.plan.clone(),
        grant: grant.as_ref().map(|grant| grant.id.clone()),
        emergency: args.emergency,
        new: args.new.then_some(true),
    };
    let sent = client.post("/v1/proposals", &wish).map_err(|mut failure| {
        if let (Exit::Unreachable, None, Some(nonce)) =
            (failure.exit, &failure.problem, &wish.nonce)
        {
            let advice = format!(
                "; the boundary may have received the call: repeat the command with --nonce {nonce}"
            );
            failure.message += &advice;
        }
        failure
    });
    let mut view: ProposalView = sent?;
    if let (Some(grant), Some(nonce)) = (&grant, &wish.nonce)
        && view.status == ProposalStatus::Pending
        && grant.grant.grantee.key().is_some()
    {
        let wanted = WantedUse {
            step: reference.as_str(),
            params: &wish.params,
            nonce,
            grant,
        };
        view = sign_use(&view, wanted, &client, &args.key.find()?)?;
    }
    if let (Some(_), Some(refusal)) = (&grant, &view.refusal) {
        return fail_refused(format!(
            "{} is refused ({}): {}",
            view.id, refusal.code, refusal.detail
        ));
    }
    if view.existing && !terminal.json {
        let reason = match &*view.reason {
            "" => PrintableText::words("without a reason"),
            reason => {
                PrintableText::words("with the reason ").then(PrintableText::quoted_prose(reason))
            }
        };
        let taken = match view.reason_not_taken {
            true => "; your reason was not taken",
            false => "",
        };
        let advice = match args.nonce {
            None => "; use --new to make another proposal",
            Some(_) => "",
        };
        let words = PrintableText::text(&format!("the same proposal exists already: {}", view.id));
        terminal.tell(&words.and(", ").then(&reason).and(taken).and(advice));
    }
    if !terminal.json
        && let Some(words) = emergency_words(args.emergency, view.emergency)
    {
        terminal.say(words);
    }
    if !args.wait {
        if !terminal.json {
            terminal.say(format!(
                "the proposal is {}, {}; to wait for its end: countersign wait {}",
                view.status,
                needs(&view, args.grant.is_some()),
                view.id
            ));
        }
        return terminal.answer(&view, &view.id);
    }
    terminal.report(
        json!({"type": "proposal", "proposal": view}),
        format!(
            "{} {}, {}",
            view.id,
            view.status,
            needs(&view, args.grant.is_some())
        ),
    )?;
    let wanted = WantedBundle {
        bundle: args.bundle.as_deref(),
        witnesses: args.witness,
        from_roster: args.from_roster,
    };
    let printer = RunPrinter::new(terminal, args.form);
    wait_for(&client, &view.id, wanted, printer)
}

/// Adds the outputs of an earlier run that the step takes as parameters.
fn add_outputs(
    client: &Client,
    receipt: &ReceiptId,
    known: &Parameter,
    params: &mut Map<String, Value>,
) -> CommandResult<()> {
    let results: ReceiptFiles = client.get(&format!("/v1/receipts/{receipt}/files"))?;
    let block = results.step.step().replace('-', "_");
    // A Gruntwork template reads the output `key` of the block `block` as the parameter `outputs_block_key`.
    let parameter = |name: &String| {
        let names = [
            name.clone(),
            format!("outputs_{block}_{}", name.replace('-', "_")),
        ];
        names.into_iter().find(|name| known.key(name).is_some())
    };
    let taken: Vec<_> = results
        .outputs
        .into_iter()
        .filter_map(|(name, value)| Some((parameter(&name)?, value)))
        .collect();
    if taken.is_empty() {
        let message = format!("{receipt} has no output with the name of a parameter of this step");
        return fail_usage(message);
    }
    params.extend(taken);
    Ok(())
}

/// Uploads one file, given as `NAME=FILE`.
fn upload(client: &Client, given: &str) -> CommandResult<ProposedArtifact> {
    let bad = |why: String| {
        CommandFailure::usage(format!("--artifact {}: {why}", PrintableText::text(given)))
    };
    let (name, path) = given
        .split_once('=')
        .ok_or_else(|| bad("write NAME=FILE".to_owned()))?;
    let name = name
        .parse()
        .map_err(|error: IdentError| bad(error.to_string()))?;
    let unreadable = |error: io::Error| bad(format!("can't read the file: {error}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hashed = HashingWriter::new(io::sink());
    let _size = io::copy(&mut file, &mut hashed).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let digest = ContentDigest::from_bytes(hashed.sha256.finish());
    let _: StoredArtifact = client.put_file(&format!("/v1/artifacts/{digest}"), file)?;
    Ok(ProposedArtifact { name, digest })
}

/// Returns what the proposer must know about an emergency.
fn emergency_words(asked: bool, is_emergency: bool) -> Option<&'static str> {
    match (asked, is_emergency) {
        (_, true) => Some(
            "the proposal is an EMERGENCY: people must review its run afterwards, and `countersign unsettled` lists it \
             until then",
        ),
        (true, false) => {
            Some("the existing proposal is no emergency; use --new to propose the emergency")
        }
        (false, false) => None,
    }
}

fn needs(view: &ProposalView, granted: bool) -> String {
    if granted {
        return "under a standing grant".to_owned();
    }
    let from = match joined(&view.approvals.missing, ", ") {
        none if none.is_empty() => none,
        groups => format!(" from {groups}"),
    };
    format!(
        "{} of {} signatures so far, needed{from} by {}",
        view.approvals.have, view.approvals.required, view.expires_at
    )
}

/// Changes the exit code to [`Exit::UnknownStep`] if the boundary answers `not-found`.
fn unknown_step(failure: CommandFailure) -> CommandFailure {
    if failure.has_code(Code::NotFound) {
        CommandFailure {
            exit: Exit::UnknownStep,
            ..failure
        }
    } else {
        failure
    }
}

fn parse_step(text: &str) -> CommandResult<(StepRef, Option<StepDigest>)> {
    let (reference, digest) = match text.split_once('@') {
        Some((reference, digest)) => (reference, Some(digest)),
        None => (text, None),
    };
    let digest: Option<StepDigest> = digest.map(str::parse).transpose().map_err(|error| {
        CommandFailure::usage(format!("{}: {error}", PrintableText::text(text)))
    })?;
    Ok((reference.parse().map_err(CommandFailure::usage)?, digest))
}

/// Parses `90s`, `30m` or `2h` to seconds. A number without a unit means seconds.
fn parse_window(text: &str) -> Result<i64, String> {
    let is_plain = text.bytes().all(|c| c.is_ascii_digit());
    let seconds = if is_plain {
        duration(&format!("{text}s"))
    } else {
        duration(text)
    };
    let window = seconds.ok().filter(|seconds| *seconds <= MAX_WINDOW_S);
    window.ok_or_else(|| "write the time like 90s, 30m, 1h30m or 1d, from 1s to 24h".to_owned())
}

/// Makes the nonce of a proposal whose window has this length in seconds, and ends at `latest` at the latest.
///
/// # Errors
/// Returns an error if the system has no random bytes.
pub fn new_nonce(window_s: Option<i64>, latest: Option<Timestamp>) -> CommandResult<Nonce> {
    let end = now().plus(window_s.unwrap_or(DEFAULT_WINDOW_S));
    let end = latest.map_or(end, |latest| end.min(latest));
    Ok(Nonce::new(end, random()?))
}

/// Creates the statement that the boundary would create, so that approvers can sign a file.
fn offline(
    args: &Args,
    client: &Client,
    step: &StepView,
    digest: Option<StepDigest>,
    params: Map<String, Value>,
    terminal: &Terminal,
) -> CommandResult {
    if let Some(wanted) = digest.filter(|wanted| *wanted != step.digest) {
        return fail_refused(format!(
            "the step now has the digest {}, not {wanted}",
            step.digest
        ));
    }
    if let Some(denied) = &step.denied {
        return fail_refused(denied.clone());
    }
    let registry: RegistryView = client.get("/v1/registry")?;
    let definition: StepDefinition = strict::typed(&step.definition).map_err(|error| {
        CommandFailure::unreachable(format!("the boundary's step can't be read: {error}"))
    })?;
    definition.check().map_err(CommandFailure::refused)?;
    let schema = ParameterSchema::compile(&definition.params)
        .map_err(|flaws| CommandFailure::unreachable(join(&flaws)))?;
    let params = schema
        .complete(Value::Object(params))
        .map_err(|errors| CommandFailure::usage(join(&errors)))?;
    let script =
        step_template::rendered(&definition, params.value()).map_err(CommandFailure::usage)?;
    let proposer = args
        .proposer
        .clone()
        .or_else(|| client.name())
        .ok_or_else(|| {
            CommandFailure::usage(
                "a token does not contain its name: give the token's name with --proposer NAME",
            )
        })?;
    let now = now();
    let nonce = match &args.nonce {
        Some(nonce) if nonce.end() <= now || nonce.end() > now.plus(MAX_WINDOW_S) => {
            let message = format!(
                "--nonce: the nonce ends at {}, but it must end within the next 24 hours",
                nonce.end()
            );
            return fail_usage(message);
        }
        Some(nonce) => nonce.clone(),
        None => new_nonce(args.expires, None)?,
    };
    let signed = Authorization {
        boundary: revocation::boundary_ref(registry.boundary),
        proposal: ProposalId::ending(nonce.end(), random()?),
        expires_at: nonce.end(),
        nonce,
        step: StepReference {
            reference: definition.reference.clone(),
            digest: step.digest,
        },
        params: params.value().clone(),
        rendered: RenderedDigest::of(script.as_bytes()),
        permissions: step.permissions.clone(),
        sandbox: step.sandbox.clone(),
        proposer,
        reason: args.reason(),
        issued_at: now,
        not_before: now,
        session: None,
        artifacts: None,
        plan: None,
        grant: None,
        emergency: None,
        by: None,
    };
    let id = signed.proposal.clone();
    let payload = signed
        .into_statement()
        .and_then(|statement| statement.to_payload())
        .map_err(|error| CommandFailure::usage(format!("the statement can't be made: {error}")))?;
    let digest = documents::AuthorizationDigest::of(&payload);
    let path = args.output.as_deref().unwrap_or(Path::new("-"));
    write_document(path, &Envelope::new(&payload, Vec::new()), terminal)?;
    if path != Path::new("-") {
        if terminal.json {
            terminal.object(
                json!({"proposal": id, "digest": digest, "file": path.to_string_lossy()}),
            )?;
        }
        terminal.say(format!(
            "{id}: have it signed with countersign approve {} -o signed.json, then countersign submit signed.json",
            path.display()
        ));
    }
    Ok(Exit::Done)
}

fn join<T: std::fmt::Display>(errors: &[T]) -> String {
    PrintableText::text(&joined(errors, "; ")).to_string()
}

fn random<const N: usize>() -> CommandResult<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        CommandFailure::unreachable(format!("this machine gives no random bytes: {error}"))
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_window_has_a_valid_time_unit_and_lasts_at_most_a_day() {
        assert_eq!(parse_window("90"), Ok(90));
        assert_eq!(parse_window("30m"), Ok(1800));
        assert_eq!(parse_window("24h"), Ok(86_400));
        assert_eq!(
            (parse_window("1d"), parse_window("1h30m")),
            (Ok(86_400), Ok(5400))
        );
        for bad in [
            "",
            "0",
            "-1m",
            "25h",
            "1d1s",
            "m",
            "30m1",
            "9223372036854775807h",
            "1.5h",
        ] {
            assert!(parse_window(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_emergency_is_told_and_an_existing_proposal_that_is_none_too() {
        assert!(
            emergency_words(true, true)
                .is_some_and(|words| words.contains("EMERGENCY") && words.contains("review"))
        );
        assert_eq!(
            emergency_words(false, true),
            emergency_words(true, true),
            "by the existing proposal"
        );
        assert!(emergency_words(true, false).is_some_and(|words| words.contains("no emergency")));
        assert_eq!(emergency_words(false, false), None);
    }

    #[test]
    fn a_long_reason_is_cut_to_the_limit_and_a_short_reason_is_unchanged() {
        for short in ["", "why", "\u{44f}\n\"\\", &"x".repeat(MAX_REASON_CHARS)] {
            assert_eq!(cut(short), short);
        }
        for piece in ["x", "\u{44f}", "\u{1f600}", "\"", "\u{0}", "a \u{e9}"] {
            let cut = cut(&piece.repeat(2048));
            assert!(check_reason("", &cut).is_ok(), "{piece:?}");
            let longer = format!("{cut}{piece}{piece}{piece}");
            assert!(check_reason("", &longer).is_err(), "{piece:?}");
            assert!(cut.ends_with("...") && cut.starts_with(piece), "{cut}");
        }
        assert_eq!(cut(&"\n ".repeat(2048)), "...");
    }

    #[test]
    fn a_step_argument_may_contain_the_step_digest() {
        assert!(parse_step("a:b").expect("step").1.is_none());
        assert!(
            parse_step(&format!("a:b@sha256:{}", "0".repeat(64)))
                .expect("step")
                .1
                .is_some()
        );
        assert!(parse_step("a:b@x").is_err());
        assert!(parse_step("ab").is_err());
    }
}
