//! `gate`: lets a job go on only with the receipt that it needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::audit::bundle::Options;
use crate::audit::gate::{
    Demands, GateReport, Given, LeastSandbox, Met, MostAge, WhichDigest, WhichOutcome, WhichParams, decide,
    may_be_unchecked,
};
use crate::audit::report::CheckName;
use crate::cli::clock::now;
use crate::cli::verify::{Basis, Judged, read_bundle, with_any};
use crate::crypto::digest::{BlobDigest, RosterDigest, SealDigest, StepDigest};
use crate::home::checkout::Checkouts;
use crate::home::parameters::read_params;
use crate::home::trusted_rosters::{Own, Trust, TrustArgs, check_own};
use crate::record::ident::StepRef;
use crate::record::profile::{Layer, STRICT};
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::screen::{Screen, Shown, Tone};
use crate::terminal::streams::Terminal;

/// Let a job go on only with a receipt of just this step, with these parameters, from this boundary.
///
/// Everything is required that can be, and whatever could not be checked counts as a no. What is to be asked less is
/// spelt, one by one. A receipt is evidence of a run, not a ticket: it passes again while it is young, so bind what the job
/// is about (the commit, the build) as a parameter.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign gate run.bundle.json --boundary sha256:… --step deploy:web --digest sha256:… -p commit=\"$COMMIT\"
  countersign gate - --boundary sha256:… --step deploy:web --digest sha256:… --params expected.json < run.bundle.json
  countersign gate run.bundle.json --boundary sha256:… --step host:report --digest sha256:… --no-params --max-age 1h
  countersign gate run.bundle.json --roster \"$RUNNER_TEMP/roster.json\" --roster-digest sha256:… …

The roster comes from --roster, COUNTERSIGN_TRUST or your configuration directory, never from a checkout: a file in the \
current directory, in a work tree or in the runner's workspace is refused unless --roster-digest pins it; so is a \
configuration directory there. Of several trusted versions the newest decides; of several digests, --roster-digest names the one.

Exit codes: 0 every requirement is met; 1 one is not; 2 wrong usage, or no trusted roster to check with.")]
pub struct Args {
    /// The bundle; - is the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The boundary's id; its name alone may be anybody's
    #[arg(long, value_name = "sha256:…")]
    boundary: SealDigest,
    /// The step that must have run, path:step
    #[arg(long, value_name = "STEP")]
    step: StepRef,
    /// The step's definition, as `registry list` shows it
    #[arg(long, value_name = "sha256:…", required_unless_present_any = ["any_digest", "lock"], conflicts_with = "any_digest")]
    digest: Option<StepDigest>,
    /// The step's definition as a countersign.lock names it: comes with a later version
    #[arg(long, value_name = "FILE", hide = true)]
    lock: Option<PathBuf>,
    /// A parameter that must have been signed; all of them have to be named, defaults too
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// A file with the object of parameters that must have been signed; - is the standard input; -p goes over it
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// No parameters may have been signed
    #[arg(long, conflicts_with_all = ["param", "params"])]
    no_params: bool,
    /// How long ago the run may have ended: 90s, 30m, 24h, 7d, or any
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_age)]
    max_age: MostAge,
    /// What the sandbox must have held: strict, best-effort (any layer), off (none), or layers with commas between them
    #[arg(long, value_name = "LEVEL|LAYERS", default_value = "strict", value_parser = parse_sandbox)]
    min_sandbox: LeastSandbox,
    /// How many distinct witnesses of the roster must have cosigned the log
    #[arg(long, value_name = "K", default_value_t = 0)]
    witness: u64,
    /// Any definition of the step will do
    #[arg(long)]
    any_digest: bool,
    /// Any parameters will do
    #[arg(long, conflicts_with_all = ["param", "params", "no_params"])]
    any_params: bool,
    /// Exit code 2, success with a warning, will do
    #[arg(long)]
    allow_warned: bool,
    /// This check may be left open: permissions, sandbox, keys-still-rostered, seal-in-force, witnesses
    #[arg(long, value_name = "CHECK", value_parser = parse_check)]
    allow_unchecked: Vec<CheckName>,
    /// A later roster will do that nobody had to sign (threshold 0)
    #[arg(long)]
    allow_unguarded: bool,
    /// The digest of the roster that is trusted, as its keeper tells it; then the file may come from anywhere
    #[arg(long, value_name = "sha256:…")]
    roster_digest: Option<RosterDigest>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Decides.
///
/// # Errors
/// Wrong usage, a file that can't be read, or no trusted roster: exit code 2.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, Failure> {
    if args.lock.is_some() {
        return Err(Failure::usage(
            "`--lock` comes with a later version: until then name the definition with --digest sha256:…, as \
             `countersign registry list` shows it",
        ));
    }
    let demands = demands(args)?;
    if args.params.as_deref() == Some(Path::new("-")) && args.file == Path::new("-") {
        return Err(Failure::usage("the standard input can't be both the bundle and the parameters"));
    }
    let trust = trusted(args)?;
    let bytes = read_bundle(&args.file)?;
    let now = now();
    let options = Options { at: Some(now), witnesses: args.witness };
    let digest = BlobDigest::of(&bytes);
    // What the bundle itself says of its roster is not told: whoever swapped it would have it pasted in as trusted.
    let Judged { trusted, report, unconnected } = with_any(&bytes, &trust, options).map_err(|_| no_trust())?;
    if let Some(other) = unconnected.first() {
        return Err(Failure::new(
            Exit::NoTrust,
            format!(
                "you trust several rosters by their digests, and {} ({}) may be of a later version than the bundle knows: \
                 name the one to decide with, --roster-digest sha256:…",
                other.pinned.digest(),
                Shown::text(&other.from).as_str()
            ),
        ));
    }
    let gate = decide(&report, &demands, now);
    if terminal.json {
        terminal.object(&json!({
            "file": args.file.to_string_lossy(), "sha256": digest, "passed": gate.passed, "at": now, "exit": exit(&gate).code(),
            "trusted": {"roster": report.trust.roster, "from": trusted.from},
            "requirements": gate.requirements, "report": report,
        }))?;
    } else {
        let basis = Basis { place: &args.file, digest, trusted, report: &report, at: Some(now) };
        terminal.show_lines(&screen(&gate, &basis))?;
    }
    Ok(exit(&gate))
}

fn exit(gate: &GateReport) -> Exit {
    if gate.passed { Exit::Done } else { Exit::CheckSaidNo }
}

fn demands(args: &Args) -> Result<Demands, Failure> {
    let params = if args.any_params {
        WhichParams::Any
    } else {
        if args.params.is_none() && args.param.is_empty() && !args.no_params {
            return Err(Failure::usage(
                "which parameters must have been signed? Name all of them with -p NAME=VALUE or --params FILE, or say \
                 --no-params or --any-params",
            ));
        }
        let mut demanded = BTreeMap::new();
        if let Some(path) = &args.params {
            demanded.extend(read_params(path)?.into_iter().map(|(name, value)| (name, Given::Value(value))));
        }
        let mut spelt = std::collections::BTreeSet::new();
        for given in &args.param {
            let shown = Shown::text(given);
            let (name, text) = given
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("-p {}: expected name=value", shown.as_str())))?;
            if !spelt.insert(name) {
                return Err(Failure::usage(format!("-p {}: this parameter is named twice", shown.as_str())));
            }
            demanded.insert(name.to_owned(), Given::Text(text.to_owned()));
        }
        WhichParams::Exactly(demanded)
    };
    Ok(Demands {
        boundary: args.boundary,
        step: args.step.clone(),
        digest: args.digest.map_or(WhichDigest::Any, WhichDigest::Exactly),
        params,
        outcome: if args.allow_warned { WhichOutcome::SucceededOrWarned } else { WhichOutcome::Succeeded },
        sandbox: args.min_sandbox.clone(),
        age: args.max_age,
        unchecked: args.allow_unchecked.iter().copied().collect(),
        unguarded: args.allow_unguarded,
    })
}

/// The rosters to decide with. A file that a checkout could bring along is no ground for trust, unless its digest is
/// pinned from elsewhere; one of the configuration directory neither, since jobs put their home into the checkout too.
fn trusted(args: &Args) -> Result<Vec<Trust>, Failure> {
    let mut trust = args.trust.find_unchecked()?;
    let Some(pinned) = args.roster_digest else {
        for file in trust.iter().filter_map(|trust| trust.file.as_deref()) {
            let _own = check_place(file)?;
        }
        return if trust.is_empty() { Err(no_trust()) } else { Ok(trust) };
    };
    if trust.is_empty() {
        trust = TrustArgs { roster: Some(pinned.to_string()) }.find()?;
    }
    let others: Vec<_> = trust.iter().map(|trust| trust.from.clone()).collect();
    trust.retain(|trust| trust.pinned.digest() == pinned);
    if trust.is_empty() {
        return Err(Failure::new(
            Exit::NoTrust,
            format!(
                "{}: not the roster that --roster-digest pins; get the right one, or ask its keeper",
                Shown::text(&others.join(", ")).as_str()
            ),
        ));
    }
    Ok(trust)
}

/// Checks that no checkout has a hand in this file, and nobody but this user.
fn check_place(path: &Path) -> Result<Own, Failure> {
    let place = Shown::text(&path.to_string_lossy());
    let refuse = |why: &str| {
        Failure::new(
            Exit::NoTrust,
            format!(
                "the roster {}: {why}, and what lies there is written by those whose change is to be let through. Name the \
                 roster's digest as its keeper tells it (--roster-digest sha256:…, or --roster sha256:…), or keep the file elsewhere",
                place.as_str()
            ),
        )
    };
    if path == Path::new("-") {
        return Err(refuse("the standard input may come from a checkout"));
    }
    let unreadable = |error: std::io::Error| Failure::new(Exit::NoTrust, format!("{}: {error}", place.as_str()));
    let checkouts = Checkouts::of_process().map_err(unreadable)?;
    if let Some(why) = checkouts.holding(path).map_err(unreadable)? {
        return Err(refuse(Shown::text(&why).as_str()));
    }
    check_own(path)
}

fn no_trust() -> Failure {
    Failure::new(
        Exit::NoTrust,
        "there is no trusted roster, so nothing was checked: name it with --roster sha256:… as its keeper tells it, or with \
         COUNTERSIGN_TRUST, or keep it in your configuration directory; never take it from the bundle or from a checkout",
    )
}

fn screen(gate: &GateReport, basis: &Basis<'_>) -> Screen {
    let mut screen = Screen::default();
    screen.heading("Requirements");
    for requirement in &gate.requirements {
        let tone = match requirement.finding {
            Met::Yes => Tone::Good,
            Met::No => Tone::Bad,
            Met::Waived => Tone::Plain,
        };
        let prefix = format!("  {:<8} {:<20} ", requirement.finding.words(), requirement.name);
        screen.push(tone, prefix, Shown::text(&requirement.detail));
    }
    screen.heading("Verdict");
    basis.state(&mut screen);
    if gate.passed {
        screen.field_in(Tone::Good, "gate", &Shown::text("open"));
    } else {
        let unmet: Vec<_> = gate.unmet().map(|requirement| requirement.name.as_str()).collect();
        screen.field_in(Tone::Bad, "gate", &Shown::text(&format!("SHUT, not met: {}", unmet.join(", "))));
    }
    screen
}

fn parse_check(text: &str) -> Result<CheckName, String> {
    let names: Vec<_> = may_be_unchecked().iter().map(|name| name.word()).collect();
    may_be_unchecked()
        .iter()
        .find(|name| name.word() == text)
        .copied()
        .ok_or_else(|| format!("only these can be left open: {}", names.join(", ")))
}

/// Seconds of `90s`, `30m`, `24h`, `7d`; or `any`. A bare number would be read two ways, so it is refused.
fn parse_age(text: &str) -> Result<MostAge, String> {
    if text == "any" {
        return Ok(MostAge::Any);
    }
    let seconds = parse_seconds(text);
    seconds.map(MostAge::Seconds).ok_or_else(|| "an age is written like 90s, 30m, 24h or 7d, or any".to_owned())
}

/// The seconds of `90s`, `30m`, `24h` or `7d`; nothing for any other text.
pub(crate) fn parse_seconds(text: &str) -> Option<i64> {
    [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)].iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        let number = digits.parse::<i64>().ok().filter(|number| number.to_string() == digits && *number > 0)?;
        number.checked_mul(*factor)
    })
}

fn parse_sandbox(text: &str) -> Result<LeastSandbox, String> {
    match text {
        "strict" => Ok(LeastSandbox::Layers(STRICT.to_vec())),
        "best-effort" => Ok(LeastSandbox::Something),
        "off" => Ok(LeastSandbox::Nothing),
        list => list
            .split(',')
            .map(|word| serde_json::from_value::<Layer>(Value::from(word)).map_err(|_| unknown_layer(word)))
            .collect::<Result<_, _>>()
            .map(LeastSandbox::Layers),
    }
}

fn unknown_layer(word: &str) -> String {
    format!(
        "{} is no level and no layer: strict, best-effort, off, or some of capabilities, filesystem, landlock, namespaces, \
         network, seccomp",
        Shown::quoted(word).as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sandbox_levels_have_one_accepted_form() {
        assert_eq!(parse_age("24h"), Ok(MostAge::Seconds(86_400)));
        assert_eq!(parse_age("7d"), Ok(MostAge::Seconds(7 * 86_400)));
        assert_eq!(parse_age("any"), Ok(MostAge::Any));
        for bad in ["", "0s", "-1h", "+1h", "01h", "24", "1.5h", "1w", "99999999999999999999d", "9223372036854775807d"]
        {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_sandbox("strict"), Ok(LeastSandbox::Layers(STRICT.to_vec())));
        assert_eq!(parse_sandbox("landlock,network"), Ok(LeastSandbox::Layers(vec![Layer::Landlock, Layer::Network])));
        for bad in ["", "Strict", "landlock,", "landlock network", "none"] {
            assert!(parse_sandbox(bad).is_err(), "{bad}");
        }
        assert!(parse_check("seal-in-force").is_ok() && parse_check("receipt-signature").is_err());
    }
}
