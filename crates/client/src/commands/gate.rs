//! The `gate` command lets a CI job continue only with the receipt of the expected run.

pub mod gate_decision;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    AgeLimit, ChosenTrust, CommandFailure, CommandResult, Exit, GateReport, GateRequirements,
    GivenParameter, JudgedBundle, LineTone, PrintableText, RequirementResult, SandboxRequirement,
    Screen, Terminal, TrustArgs, VerdictInputs, check_own, decide_gate, fail_usage,
    home::{roster_versions::join, trusted_rosters::CheckoutDirectories},
    named, now, read_bundle, read_params, with_any,
};
use documents::{BlobDigest, Layer, RosterDigest, STRICT, SealDigest, StepDigest, StepRef, joined};
use reading::duration;
use verdict::{CheckName, MAY_BE_OPEN, VerifyOptions};

/// Let a job continue only with a receipt of exactly this step, with these parameters, from this boundary.
///
/// By default every requirement applies, and a check that could not be made fails the gate. Each relaxation is a
/// separate option. A receipt is evidence of a run, and jobs can use the receipt again until --max-age. Therefore
/// name the subject of the job (commit, build) in a parameter.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign gate run.bundle.json --boundary sha256:… --step deploy:web --digest sha256:… -p commit=\"$COMMIT\"
  countersign gate - --boundary sha256:… --step deploy:web --digest sha256:… --params expected.json < run.bundle.json
  countersign gate run.bundle.json --boundary sha256:… --step host:report --digest sha256:… --no-params --max-age 1h
  countersign gate run.bundle.json --roster \"$RUNNER_TEMP/roster.json\" --roster-digest sha256:… …

The roster comes from --roster, COUNTERSIGN_TRUST or your configuration directory. A roster file in the current \
directory, in a work tree or in the workspace of a CI runner is refused, unless --roster-digest pins it, because a \
checkout could control that file. If you trust several versions, the newest version is used. If you trust several \
digests, select one with --roster-digest.

Exit codes: 0 every requirement is met; 1 a requirement is not met; 2 wrong usage, or no trusted roster to check \
with.")]
pub struct Args {
    /// The file of the bundle, or - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The id of the boundary. The name is not enough, because another boundary can have the same name
    #[arg(long, value_name = "sha256:…")]
    boundary: SealDigest,
    /// The step that must have run, as path:step
    #[arg(long, value_name = "STEP")]
    step: StepRef,
    /// The digest of the step's definition, as `registry list` shows it
    #[arg(
        long,
        value_name = "sha256:…",
        required_unless_present = "any_digest",
        conflicts_with = "any_digest"
    )]
    digest: Option<StepDigest>,
    /// A parameter that must have been signed. Name all parameters, also those with default values
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// A JSON file with the parameters that must have been signed, or - for the standard input. The option -p overrides
    /// a value of the file
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// Require that no parameters were signed
    #[arg(long, conflicts_with_all = ["param", "params"])]
    no_params: bool,
    /// The maximum age of the run, counted from its end: 90s, 1h30m, 24h, 7d, or any
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_age)]
    max_age: AgeLimit,
    /// The sandbox layers that the run must have had: strict, best-effort (any layer), off (none), or layers with
    /// commas between them
    #[arg(long, value_name = "LEVEL|LAYERS", default_value = "strict", value_parser = parse_sandbox)]
    min_sandbox: SandboxRequirement,
    /// The number of distinct witnesses of the roster that must have cosigned the log
    #[arg(long, value_name = "K", default_value_t = 0)]
    witness: u64,
    /// Accept any definition of the step
    #[arg(long)]
    any_digest: bool,
    /// Accept any parameters
    #[arg(long, conflicts_with_all = ["param", "params", "no_params"])]
    any_params: bool,
    /// Accept exit code 2, which means success with a warning
    #[arg(long)]
    allow_warned: bool,
    /// Require that no list of the run refused a program or a host. Without this option, both are accepted if the exit code
    /// is 0
    #[arg(long)]
    no_refused: bool,
    /// Accept that this check was not made: permissions, sandbox, keys-still-rostered, seal-in-force, revocations,
    /// witnesses
    #[arg(long, value_name = "CHECK", value_parser = parse_check)]
    allow_unchecked: Vec<CheckName>,
    /// Accept a run that approvers allowed by a standing grant, without a signature for this run
    #[arg(long)]
    allow_grant: bool,
    /// With --allow-grant: also accept a run that a token started under its grant, by the word of the boundary
    #[arg(long, requires = "allow_grant")]
    allow_token_grant: bool,
    /// Accept a run in an emergency, for which other people signed than normally. A bundle does not show the reviews
    /// of the run
    #[arg(long)]
    allow_emergency: bool,
    /// Accept a later roster version that needed no signatures (threshold 0)
    #[arg(long)]
    allow_unguarded: bool,
    /// The digest of the trusted roster, from the person who maintains it. If the digest is given, the roster file
    /// may come from any place
    #[arg(long, value_name = "sha256:…")]
    roster_digest: Option<RosterDigest>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Decides whether the CI job may continue.
///
/// # Errors
/// Returns an error for wrong usage, an unreadable file or a missing trusted roster. The exit code is 2.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let demands = demands(args)?;
    if args.params.as_deref() == Some(Path::new("-")) && args.file == Path::new("-") {
        return fail_usage(
            "the bundle and the parameters can't both come from the standard input: name a \
         file for one of them",
        );
    }
    let trust = join(&trusted(args)?, &[]);
    let bytes = read_bundle(&args.file)?;
    let now = now();
    let options = VerifyOptions {
        at: Some(now),
        witnesses: args.witness,
    };
    let digest = BlobDigest::of(&bytes);
    // The message does not propose to trust the roster of the bundle, because an attacker could have replaced this
    // roster.
    let JudgedBundle {
        trusted,
        report,
        unconnected,
    } = with_any(&bytes, &trust, options).map_err(|_| no_trust())?;
    if let Some(other) = unconnected.first() {
        return Err(CommandFailure::no_trust(format!(
            "you trust several rosters by their digests, and {} ({}) may be a later version than the versions in \
                 the bundle: select the roster that decides with --roster-digest sha256:...",
            other.pinned.digest(),
            PrintableText::text(&other.from)
        )));
    }
    let gate = decide_gate(&report, &demands, now);
    if terminal.json {
        terminal.object(json!({
            "file": args.file.to_string_lossy(), "sha256": digest, "passed": gate.passed, "at": now, "exit": exit(&gate).code(),
            "trusted": {"roster": report.trust.roster, "from": trusted.from},
            "requirements": gate.requirements, "report": report,
        }))?;
    } else {
        let basis = VerdictInputs {
            place: &args.file,
            digest,
            trusted,
            report: &report,
            at: Some(now),
        };
        terminal.show_lines(&screen(&gate, &basis))?;
    }
    Ok(exit(&gate))
}

fn exit(gate: &GateReport) -> Exit {
    if gate.passed {
        Exit::Done
    } else {
        Exit::CheckSaidNo
    }
}

fn demands(args: &Args) -> CommandResult<GateRequirements> {
    let params = if args.any_params {
        None
    } else {
        if args.params.is_none() && args.param.is_empty() && !args.no_params {
            return fail_usage(
                "the expected parameters are missing: name all of them with -p NAME=VALUE or --params FILE, or give \
                 --no-params or --any-params",
            );
        }
        let mut demanded = BTreeMap::new();
        if let Some(path) = &args.params {
            demanded.extend(
                read_params(path)?
                    .into_iter()
                    .map(|(name, value)| (name, GivenParameter::Value(value))),
            );
        }
        let mut as_text = std::collections::BTreeSet::new();
        for given in &args.param {
            let (name, text) = named("-p", given, "value")?;
            if !as_text.insert(name) {
                return fail_usage(format!(
                    "-p {}: this parameter is named twice",
                    PrintableText::text(given)
                ));
            }
            demanded.insert(name.to_owned(), GivenParameter::Text(text.to_owned()));
        }
        Some(demanded)
    };
    Ok(GateRequirements {
        boundary: args.boundary,
        step: args.step.clone(),
        digest: args.digest,
        params,
        warned: args.allow_warned,
        refused: !args.no_refused,
        sandbox: args.min_sandbox.clone(),
        age: args.max_age,
        unchecked: args.allow_unchecked.iter().copied().collect(),
        granted: args.allow_grant,
        by_token: args.allow_token_grant,
        emergency: args.allow_emergency,
        unguarded: args.allow_unguarded,
    })
}

/// Returns the trusted rosters for the decision. A roster file in a checkout is refused unless its digest is pinned,
/// because the author of a change could have written the file. The same check applies to the configuration directory,
/// because the home directory of a job may be in the checkout.
fn trusted(args: &Args) -> CommandResult<Vec<ChosenTrust>> {
    let mut trust = args.trust.find_unchecked()?;
    let Some(pinned) = args.roster_digest else {
        for file in trust.iter().filter_map(|trust| trust.file.as_deref()) {
            check_place(file)?;
        }
        return if trust.is_empty() {
            Err(no_trust())
        } else {
            Ok(trust)
        };
    };
    if trust.is_empty() {
        trust = TrustArgs {
            roster: vec![pinned.to_string()],
            ..TrustArgs::default()
        }
        .find()?;
    }
    let others = joined(trust.iter().map(|trust| trust.from.clone()), ", ");
    trust.retain(|trust| trust.pinned.digest() == pinned);
    if trust.is_empty() {
        return Err(CommandFailure::no_trust(format!(
            "{} is not the roster that --roster-digest pins: get the pinned roster from the person who \
                 maintains it",
            PrintableText::text(&others)
        )));
    }
    Ok(trust)
}

/// Checks that the file is outside every checkout, and that no user other than root and this user can write it.
fn check_place(path: &Path) -> CommandResult<()> {
    let place = PrintableText::file(path);
    let refuse = |why: &str| {
        CommandFailure::no_trust(format!(
            "the roster {place} is refused: {why}, so the author of the change under review could have written the \
                 file. Give the digest of the roster (--roster-digest sha256:..., or --roster sha256:...) from the \
                 person who maintains it, or move the file to another place"
        ))
    };
    if path == Path::new("-") {
        return Err(refuse("the standard input may come from a checkout"));
    }
    let unreadable = |error: std::io::Error| CommandFailure::no_trust(format!("{place}: {error}"));
    let checkouts = CheckoutDirectories::of_process().map_err(unreadable)?;
    if let Some(why) = checkouts.holding(path).map_err(unreadable)? {
        return Err(refuse(PrintableText::text(&why).as_str()));
    }
    check_own(path)
}

fn no_trust() -> CommandFailure {
    CommandFailure::no_trust(
        "there is no trusted roster, so nothing was checked: give the digest of the roster from the person who \
         maintains the roster (--roster sha256:... or COUNTERSIGN_TRUST), or put the roster into your configuration \
         directory; never take the roster from the bundle or from a checkout",
    )
}

fn screen(gate: &GateReport, basis: &VerdictInputs<'_>) -> Screen {
    let mut screen = Screen::default();
    screen.heading("Requirements");
    for requirement in &gate.requirements {
        let tone = match requirement.finding {
            RequirementResult::Yes => LineTone::Good,
            RequirementResult::No => LineTone::Bad,
            RequirementResult::Waived => LineTone::Plain,
        };
        let prefix = format!(
            "  {:<8} {:<20} ",
            requirement.finding.word(),
            requirement.name
        );
        screen.push(tone, prefix, &requirement.detail);
    }
    screen.heading("Verdict");
    basis.state(&mut screen);
    if gate.passed {
        screen.field_in(LineTone::Good, "gate", "open");
    } else {
        let unmet = joined(gate.unmet().map(|requirement| &requirement.name), ", ");
        screen.field_in(LineTone::Bad, "gate", format!("SHUT, not met: {unmet}"));
    }
    screen
}

fn parse_check(text: &str) -> Result<CheckName, String> {
    let names = joined(MAY_BE_OPEN.iter().map(|name| name.word()), ", ");
    MAY_BE_OPEN
        .iter()
        .find(|name| name.word() == text)
        .copied()
        .ok_or_else(|| format!("only these checks can be left out: {names}"))
}

fn parse_age(text: &str) -> Result<AgeLimit, String> {
    if text == "any" {
        return Ok(AgeLimit::Any);
    }
    duration(text)
        .map(AgeLimit::Seconds)
        .map_err(|why| format!("{why}, or any"))
}

fn parse_sandbox(text: &str) -> Result<SandboxRequirement, String> {
    match text {
        "strict" => Ok(SandboxRequirement::Layers(STRICT.to_vec())),
        "best-effort" => Ok(SandboxRequirement::Something),
        "off" => Ok(SandboxRequirement::Nothing),
        list => list
            .split(',')
            .map(|word| {
                serde_json::from_value::<Layer>(Value::from(word)).map_err(|_| unknown_layer(word))
            })
            .collect::<Result<_, _>>()
            .map(SandboxRequirement::Layers),
    }
}

fn unknown_layer(word: &str) -> String {
    format!(
        "{} is no level and no layer: give strict, best-effort, off, or some of capabilities, filesystem, landlock, \
         namespaces, network, programs, seccomp",
        PrintableText::quoted(word)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_or_a_sandbox_with_another_spelling_is_refused() {
        assert_eq!(parse_age("24h"), Ok(AgeLimit::Seconds(86_400)));
        assert_eq!(parse_age("7d"), Ok(AgeLimit::Seconds(7 * 86_400)));
        assert_eq!(parse_age("any"), Ok(AgeLimit::Any));
        for bad in [
            "",
            "0s",
            "-1h",
            "+1h",
            "01h",
            "24",
            "1.5h",
            "1w",
            "99999999999999999999d",
            "9223372036854775807d",
        ] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_sandbox("strict"),
            Ok(SandboxRequirement::Layers(STRICT.to_vec()))
        );
        assert_eq!(
            parse_sandbox("landlock,network"),
            Ok(SandboxRequirement::Layers(vec![
                Layer::Landlock,
                Layer::Network
            ]))
        );
        for bad in ["", "Strict", "landlock,", "landlock network", "none"] {
            assert!(parse_sandbox(bad).is_err(), "{bad}");
        }
        assert!(parse_check("seal-in-force").is_ok() && parse_check("receipt-signature").is_err());
    }
}
