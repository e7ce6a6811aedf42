//! `propose`: the wish to run one step, once.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::boundary::view::{ProposalView, Propose, RegistryView, StepView};
use crate::cli::clock::now;
use crate::cli::global::Global;
use crate::crypto::digest::{RenderedDigest, StepDigest};
use crate::crypto::{canonical, json as strict};
use crate::home::keys::KeyArgs;
use crate::home::parameters::{read_params, typed};
use crate::record::authorization::{Authorization, BoundaryRef, MAX_REASON_BYTES, StepReference};
use crate::record::envelope::Envelope;
use crate::record::ident::{Name, Nonce, ProposalId, StepRef};
use crate::record::step::StepDefinition;
use crate::record::validity::{DEFAULT_WINDOW_S, MAX_WINDOW_S};
use crate::registry::parameters::ParameterSchema;
use crate::remote::client::Client;
use crate::remote::follow::{WantedBundle, conclude, follow, stop_waiting_on_interrupt};
use crate::remote::run_printer::{OutputForm, RunPrinter};
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::screen::Shown;
use crate::terminal::streams::{Terminal, write_new};

/// Propose to run one step, once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign propose nginx:restart -p host=web-3 --reason 'p99 is up' --wait
  countersign propose deploy/web:roll -p count=3 -p 'zones=[\"a\",\"b\"]'     typed by the step's schema
  countersign propose nginx:restart --params params.json --wait --bundle run.bundle.json
  countersign propose nginx:restart --reason=\"$MESSAGE\" --reason-cut          a reason of any length
  countersign propose nginx:restart@sha256:… -p host=web-3                 only this definition
  countersign propose nginx:restart -p host=web-3 --new                    a second run of what is pending already
  countersign propose nginx:restart -p host=web-3 --offline --proposer ci-agent -o statement.json

Exit codes with --wait: the step's own, else 124 expired or timed out, 125 boundary unreachable or faulty, \
126 denied, refused or cancelled, 127 unknown step, 128+n ended by signal n.")]
pub struct Args {
    /// The step, path:step; with @sha256:… only if that is its definition
    step: String,
    /// A parameter; its type is the schema's: integer, boolean, or JSON for arrays and objects
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// A file with an object of parameters, - is the standard input; -p goes over it
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// Why, for the approvers
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Cut a longer reason to what fits (1 KiB of JSON, where each non-ASCII character takes 6 bytes or more), with ... at its end
    #[arg(long)]
    reason_cut: bool,
    /// Wait for the end: output as it comes, the step's exit code
    #[arg(long)]
    wait: bool,
    /// With --wait: write the receipt's bundle here
    #[arg(long, value_name = "FILE", requires = "wait")]
    bundle: Option<PathBuf>,
    /// With --bundle: wait up to a minute until so many witnesses of the log have cosigned; by default for one if the roster
    /// has any
    #[arg(long, value_name = "K", requires = "bundle")]
    witness: Option<u64>,
    /// How long it may be signed and run: 90s, 30m, 2h; at most 24h
    #[arg(long, value_name = "TIME", value_parser = parse_window)]
    expires: Option<i64>,
    /// Your own nonce, 16 to 64 bytes in base64url without padding (`openssl rand -hex 16` writes such); proposing the same again
    /// with it gives what exists
    #[arg(long, value_name = "NONCE")]
    nonce: Option<Nonce>,
    /// Propose it once more although the same step with the same parameters is pending; without this the pending one is answered
    #[arg(long, conflicts_with = "nonce")]
    new: bool,
    /// Only make the statement, for approvers to sign as a file
    #[arg(long, requires = "output", conflicts_with = "wait")]
    offline: bool,
    /// With --offline: where the statement goes
    #[arg(short, long, value_name = "FILE", requires = "offline")]
    output: Option<PathBuf>,
    /// With --offline: who proposes, the token's name; a key that opened reading is known by itself
    #[arg(long, value_name = "NAME", requires = "offline")]
    proposer: Option<Name>,
    #[command(flatten)]
    form: OutputForm,
    #[command(flatten)]
    key: KeyArgs,
}

impl Args {
    fn reason(&self) -> String {
        if self.reason_cut { cut(&self.reason) } else { self.reason.clone() }
    }
}

/// As much of a reason as an authorization takes. It is measured as it is signed, in canonical JSON with its quotes.
fn cut(reason: &str) -> String {
    const MARK: &str = "...";
    let fits = |text: &str| canonical::to_canonical(&Value::from(text)).len() <= MAX_REASON_BYTES + 2;
    if fits(reason) {
        return reason.to_owned();
    }
    let mut text: String = reason.chars().take(MAX_REASON_BYTES).collect();
    while !fits(&format!("{text}{MARK}")) && text.pop().is_some() {}
    format!("{}{MARK}", text.trim_end())
}

/// Proposes, and waits if asked to.
///
/// # Errors
/// When the step is unknown, the parameters don't fit, or the boundary refuses.
pub fn run(args: &Args, global: &Global, terminal: &Terminal) -> Result<Exit, Failure> {
    let client = global.client(&args.key)?;
    let (reference, digest) = parse_step(&args.step)?;
    let mut params = match &args.params {
        Some(path) => read_params(path)?,
        None => Map::new(),
    };
    // The step is fetched only for what needs its schema.
    if args.offline || !args.param.is_empty() {
        let step: StepView = client.get(&format!("/v1/steps/{reference}")).map_err(unknown_step)?;
        for given in &args.param {
            let (name, value) = typed(given, &step.definition["params"])?;
            params.insert(name, value);
        }
        if args.offline {
            return offline(args, &client, &step, digest, params, terminal);
        }
    }
    let wish = Propose {
        step: args.step.clone(),
        params: Value::Object(params),
        reason: args.reason(),
        nonce: if args.new { Some(new_nonce()?) } else { args.nonce.clone() },
        expires_in_s: args.expires,
    };
    let view: ProposalView = client.post("/v1/proposals", &wish)?;
    if view.existing && !terminal.json {
        let reason = match &*view.reason {
            "" => "without a reason".to_owned(),
            reason => format!("with the reason {}", Shown::quoted(reason).as_str()),
        };
        let advice = if args.nonce.is_none() { "; --new proposes it once more" } else { "" };
        terminal.say(&format!("the same was proposed already: {}, {reason}{advice}", view.id));
    }
    if !args.wait {
        if terminal.json {
            terminal.object(&view)?;
        } else {
            terminal.line(view.id.as_str())?;
            terminal.say(&format!(
                "{}, {}; wait for it: countersign wait {}",
                view.status.word(),
                needs(&view),
                view.id
            ));
        }
        return Ok(Exit::Done);
    }
    if terminal.json {
        terminal.object(&json!({"type": "proposal", "proposal": view}))?;
    } else {
        terminal.say(&format!("{} {}, {}", view.id, view.status.word(), needs(&view)));
    }
    stop_waiting_on_interrupt(&view.id);
    let ended = follow(&client, &view.id, &mut RunPrinter::new(terminal, args.form))?;
    conclude(&client, &ended, WantedBundle { bundle: args.bundle.as_deref(), witnesses: args.witness }, terminal)
}

fn needs(view: &ProposalView) -> String {
    let groups: Vec<_> = view.approvals.missing.iter().map(|group| group.as_str()).collect();
    let from = if groups.is_empty() { String::new() } else { format!(" of {}", groups.join(", ")) };
    format!(
        "{} of {} signatures so far, needed{from} by {}",
        view.approvals.have, view.approvals.required, view.expires_at
    )
}

/// A step that the boundary does not show is an unknown one.
fn unknown_step(failure: Failure) -> Failure {
    let not_found = failure
        .problem
        .as_ref()
        .and_then(|problem| problem["type"].as_str())
        .is_some_and(|kind| kind.ends_with("/not-found"));
    if not_found { Failure { exit: Exit::UnknownStep, ..failure } } else { failure }
}

fn parse_step(text: &str) -> Result<(StepRef, Option<StepDigest>), Failure> {
    let (reference, digest) = match text.split_once('@') {
        Some((reference, digest)) => (
            reference,
            Some(digest.parse().map_err(|error| Failure::usage(format!("{}: {error}", Shown::text(text).as_str())))?),
        ),
        None => (text, None),
    };
    let reference = reference.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    Ok((reference, digest))
}

/// Seconds of `90s`, `30m`, `2h`; a bare number is seconds.
fn parse_window(text: &str) -> Result<i64, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let factor = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    number
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|seconds| (1..=MAX_WINDOW_S).contains(seconds))
        .ok_or_else(|| "a time is written like 90s, 30m or 2h, from 1s to 24h".to_owned())
}

fn new_nonce() -> Result<Nonce, Failure> {
    let millis = u64::try_from(now().unix()).unwrap_or_default() * 1000;
    Ok(Nonce::new(millis, random()?))
}

/// Makes the statement that approvers sign as a file: what the boundary would make.
fn offline(
    args: &Args,
    client: &Client,
    step: &StepView,
    digest: Option<StepDigest>,
    params: Map<String, Value>,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    if let Some(wanted) = digest.filter(|wanted| *wanted != step.digest) {
        return Err(Failure::new(Exit::Refused, format!("the step's definition is {} now, not {wanted}", step.digest)));
    }
    if let Some(denied) = &step.denied {
        return Err(Failure::new(Exit::Refused, denied.clone()));
    }
    let registry: RegistryView = client.get("/v1/registry")?;
    let definition: StepDefinition = strict::typed(&step.definition)
        .map_err(|error| Failure::new(Exit::Unreachable, format!("the boundary's step can't be read: {error}")))?;
    definition.check_reserved().map_err(|error| Failure::new(Exit::Refused, error.to_string()))?;
    let schema =
        ParameterSchema::compile(&definition.params).map_err(|flaws| Failure::new(Exit::Refused, join(&flaws)))?;
    let params = schema.complete(Value::Object(params)).map_err(|errors| Failure::usage(join(&errors)))?;
    let proposer = args.proposer.clone().or_else(|| client.name()).ok_or_else(|| {
        Failure::usage(
            "a token does not tell its name: say whose proposal it is with --proposer NAME, the token's name",
        )
    })?;
    let now = now();
    let millis = u64::try_from(now.unix()).unwrap_or_default() * 1000;
    let signed = Authorization {
        boundary: BoundaryRef {
            name: registry.boundary.name,
            id: registry.boundary.id,
            epoch: registry.boundary.epoch,
        },
        proposal: ProposalId::new(millis, random()?),
        nonce: match &args.nonce {
            Some(nonce) => nonce.clone(),
            None => new_nonce()?,
        },
        step: StepReference { reference: definition.reference.clone(), digest: step.digest },
        params: params.value().clone(),
        rendered: RenderedDigest::of(definition.source.as_bytes()),
        permissions: step.permissions.clone(),
        sandbox: step.sandbox.clone(),
        proposer,
        reason: args.reason(),
        issued_at: now,
        not_before: now,
        expires_at: now.plus(args.expires.unwrap_or(DEFAULT_WINDOW_S)),
    };
    let id = signed.proposal.clone();
    let payload = signed
        .into_statement()
        .and_then(|statement| statement.to_payload())
        .map_err(|error| Failure::usage(format!("the statement can't be made: {error}")))?;
    let digest = crate::crypto::digest::AuthorizationDigest::of(&payload);
    let mut bytes = serde_json::to_vec(&Envelope::new(&payload, Vec::new()))
        .map_err(|error| Failure::new(Exit::Unreachable, error.to_string()))?;
    bytes.push(b'\n');
    let Some(path) = &args.output else { return Err(Failure::usage("say where the statement goes: -o FILE")) };
    write_new(path, &bytes, terminal)?;
    if path != Path::new("-") {
        if terminal.json {
            terminal.object(&json!({"proposal": id, "digest": digest, "file": path.to_string_lossy()}))?;
        }
        terminal.say(&format!(
            "{id}: have it signed with countersign approve {} -o signed.json, then countersign submit signed.json",
            path.display()
        ));
    }
    Ok(Exit::Done)
}

fn join<T: std::fmt::Display>(errors: &[T]) -> String {
    Shown::text(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")).as_str().to_owned()
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(Exit::Unreachable, format!("this machine gives no random bytes: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_unit_and_a_maximum() {
        assert_eq!(parse_window("90"), Ok(90));
        assert_eq!(parse_window("30m"), Ok(1800));
        assert_eq!(parse_window("24h"), Ok(86_400));
        for bad in ["", "0", "-1m", "25h", "1d", "m", "9223372036854775807h", "1.5h"] {
            assert!(parse_window(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_and_a_short_reason_is_unchanged() {
        for short in ["", "why", "\u{44f}\n\"\\", &"x".repeat(MAX_REASON_BYTES)] {
            assert_eq!(cut(short), short);
        }
        for piece in ["x", "\u{44f}", "\u{1f600}", "\"", "\u{0}", "a \u{e9}"] {
            let cut = cut(&piece.repeat(2048));
            let bytes = canonical::to_canonical(&Value::from(&*cut)).len();
            assert!(bytes <= MAX_REASON_BYTES + 2 && bytes > MAX_REASON_BYTES - 16, "{piece:?}: {bytes}");
            assert!(cut.ends_with("...") && cut.starts_with(piece), "{cut}");
        }
        assert_eq!(cut(&"\n ".repeat(2048)), "...");
    }

    #[test]
    fn a_step_argument_may_contain_the_step_digest() {
        assert!(parse_step("a:b").expect("step").1.is_none());
        assert!(parse_step(&format!("a:b@sha256:{}", "0".repeat(64))).expect("step").1.is_some());
        assert!(parse_step("a:b@x").is_err());
        assert!(parse_step("ab").is_err());
    }
}
